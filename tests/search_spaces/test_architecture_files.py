"""architecture.yaml: read, written, refused; version 1 and ATRC's genotypes."""

import json
from pathlib import Path

import pytest
import yaml

from search_spaces import SPACES, Architecture, SearchSpace
from tests.support.errors import fails

TASKS = ("semseg", "depth", "normals")


FILE = """\
version: 2
tasks: [semseg, depth]
aggregator: mteb
normalize_messages: true
exchanges:
  semseg: {semseg: t_label, depth: xtam}
  depth: {semseg: none, depth: global}
provenance: {space: full, seed: 3, source: search}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "architecture.yaml"
    path.write_text(FILE)
    return path


def test_load(file):
    architecture = Architecture.load(file)
    assert architecture.tasks == ("semseg", "depth")
    assert architecture.aggregator == "mteb"
    assert architecture.exchanges == {
        ("semseg", "semseg"): "t_label",
        ("semseg", "depth"): "xtam",
        ("depth", "semseg"): "none",
        ("depth", "depth"): "global",
    }
    assert architecture.provenance == {"space": "full", "seed": 3, "source": "search"}
    assert architecture.pairs == (("semseg", "semseg"), ("semseg", "depth"), ("depth", "semseg"), ("depth", "depth"))
    assert Architecture.load(str(file)) == architecture


def test_save_is_stable(file, tmp_path):
    """Loading and saving changes no byte, and the layout is the documented one."""
    Architecture.load(file).save(tmp_path / "deeper" / "again.yaml")
    assert Architecture.load(file).to_yaml() == FILE
    written = (tmp_path / "deeper" / "again.yaml").read_bytes()
    assert written.decode() == FILE
    Architecture.load(tmp_path / "deeper" / "again.yaml").save(tmp_path / "thrice.yaml")
    assert (tmp_path / "thrice.yaml").read_bytes() == written
    many = tuple(f"a_task_with_a_long_name_{i}" for i in range(7))  # rows longer than a line
    long = Architecture.random(SearchSpace(many, SPACES["extended"]), 0)
    long.save(tmp_path / "long.yaml")
    assert Architecture.load(tmp_path / "long.yaml") == long


def test_names_that_yaml_reads_as_something_else(tmp_path):
    """Tasks named like a boolean, a number or nothing come back as names."""
    tasks = ("on", "no", "null", "1", "2.5", "~", "a: b", "ärger")
    architecture = Architecture.uniform(tasks, "global")
    architecture.save(tmp_path / "a.yaml")
    assert Architecture.load(tmp_path / "a.yaml") == architecture


def test_equality_ignores_provenance(file):
    first = Architecture.load(file)
    blocks = first.exchanges
    assert first == Architecture(first.tasks, dict(reversed(blocks.items())), "mteb", True, {"seed": 99})
    assert first != Architecture(first.tasks, blocks, "atrc")
    assert first != Architecture(first.tasks, blocks, "mteb", False)
    assert first != Architecture(first.tasks, blocks | {("depth", "depth"): "local"}, "mteb")


def test_defaults(tmp_path):
    """Aggregator, tasks and provenance may be left out; tasks are then those of the rows, in order."""
    path = tmp_path / "a.yaml"
    path.write_text("version: 1\nexchanges:\n  b: {b: none, a: local}\n  a: {a: none, b: none}\n")
    architecture = Architecture.load(path)
    assert (architecture.tasks, architecture.aggregator, architecture.provenance) == (("b", "a"), "atrc", {})


LOCAL = """\
version: 1
tasks: [a, b]
exchanges:
  a: {a: local, b: local}
  b: {a: local, b: BLOCK}
"""


@pytest.mark.parametrize(
    ("provenance", "block", "normalized"),
    [
        *[(f"{{space: {name}}}", "local", name != "atrc") for name in SPACES],
        ("{space: atrc}", "padnet_linear", False),  # its space decides, not its blocks
        *[(provenance, "local", False) for provenance in ("{space: custom}", "{space: [full]}", "{seed: 1}", "{}")],
        *[(provenance, "padnet_linear", True) for provenance in ("{space: custom}", "{seed: 1}", "{}")],
    ],
)
def test_version_1_files_have_the_rule_of_their_space(tmp_path, provenance, block, normalized):
    """They hold no normalize_messages: the named space decides, and the blocks where it is custom or missing."""
    path = tmp_path / "a.yaml"
    path.write_text(LOCAL.replace("BLOCK", block) + f"provenance: {provenance}\n")
    architecture = Architecture.load(path)
    assert architecture.normalize_messages is normalized
    architecture.save(tmp_path / "b.yaml")
    assert "version: 2\n" in (tmp_path / "b.yaml").read_text()
    assert Architecture.load(tmp_path / "b.yaml") == architecture
    path.write_text(path.read_text().replace("version: 1", "version: 2"))
    assert Architecture.load(path).normalize_messages is (block != "local")  # a file without the key: its blocks


@pytest.mark.parametrize("moment", ["while writing", "before the rename"])
def test_failed_write_leaves_the_old_file(file, monkeypatch, moment):
    write = Path.write_text

    def half(self: Path, text: str, *args: object, **kwargs: object) -> int:
        write(self, text[: len(text) // 2])
        raise OSError("No space left on device")

    def refuse(self: Path, target: object) -> Path:
        raise OSError("interrupted")

    other = Architecture.uniform(TASKS, "global")
    with monkeypatch.context() as patch:
        if moment == "while writing":
            patch.setattr(Path, "write_text", half)
        else:
            patch.setattr(Path, "replace", refuse)
        with pytest.raises(OSError):
            other.save(file)
    assert file.read_text() == FILE
    other.save(file)
    assert Architecture.load(file) == other
    assert list(file.parent.iterdir()) == [file]


def test_released_genotype(tmp_path):
    """ATRC's integers: 0 none, 1 global, 2 local, 3 target label, 4 source label; its `sal` is our saliency."""
    genotype = {
        "semseg": {"semseg": 1, "sal": 4, "depth": 0},
        "sal": {"semseg": 2, "sal": 3, "depth": 4},
        "depth": {"semseg": 3, "sal": 1, "depth": 2},
    }
    path = tmp_path / "atrc.json"
    path.write_text(json.dumps(genotype))
    architecture = Architecture.load(path)
    assert architecture.tasks == ("semseg", "saliency", "depth")
    assert architecture.aggregator == "atrc" and architecture.normalize_messages is False
    names = ("none", "global", "local", "t_label", "s_label")
    ours = {"semseg": "semseg", "sal": "saliency", "depth": "depth"}
    for target, row in genotype.items():
        for source, number in row.items():
            assert architecture.exchanges[ours[target], ours[source]] == names[number]
    architecture.save(tmp_path / "a.yaml")
    assert Architecture.load(tmp_path / "a.yaml") == architecture


@pytest.mark.parametrize(
    ("genotype", "expected"),
    [
        ('{"a": {"a": 5}}', ("5", "0 to 4")),
        ('{"a": {"a": -1}}', ("-1", "0 to 4")),
        ('{"a": {"a": "global"}}', ("global", "0 to 4")),
        ('{"a": {"a": 4}}', ("s_label", "a <- a")),
        ('{"a": {"a": 1, "b": 1}}', ("'b'",)),
        ('{"a": {"a": true}}', ("True", "0 to 4")),
        ('{"a": {"a": 1, "a": 2}}', ("'a' stands twice",)),
        ('{"a": 1}', ("exchanges",)),
        ("{}", ("exchanges",)),
        ("[1, 2]", ("list", "exchanges")),
        ('{"a": {"a": 1}', ("parsed",)),
    ],
)
def test_bad_genotypes(tmp_path, genotype, expected):
    path = tmp_path / "a.json"
    path.write_text(genotype)
    fails(lambda: Architecture.load(path), *expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("t_label", "t_lable", ("'t_lable'", "nearest: 't_label'")),
        ("global", "golbal", ("'golbal'", "nearest: 'global'")),
        ("semseg: t_label", "semseg: xtam", ("'xtam'", "semseg <- semseg", "own")),
        ("depth: global", "depth: s_label", ("'s_label'", "depth <- depth")),
        ("depth: global", "depth: padnet_gate", ("'padnet_gate'", "depth <- depth")),
        ("depth: global", "depth: padnet_conv", ("'padnet_conv'", "depth <- depth")),
        ("semseg: none, ", "", ("depth <- semseg",)),
        ("  depth: {semseg: none, depth: global}\n", "", ("depth <- semseg",)),
        ("depth: xtam", "depth: xtam, detph: none", ("'detph'", "nearest: 'depth'")),
        ("  depth: {s", "  edge: {semseg: none}\n  depth: {s", ("'edge'", "semseg, depth")),
        ("tasks: [semseg, depth]", "tasks: [semseg, depth, depth]", ("semseg", "different")),
        ("tasks: [semseg, depth]", "tasks: [semseg, depth, edge]", ("semseg <- edge",)),
        ("aggregator: mteb", "aggregator: mtep", ("'mtep'", "nearest: 'mteb'", "atrc, mteb, pad")),
        ("aggregator: mteb", "aggregator: null", ("aggregator", "atrc, mteb, pad")),
        ("aggregator: mteb", "aggregator: mteb\naggregator: pad", ("'aggregator' stands twice", "line 4")),
        ("depth: xtam", "depth: xtam, depth: none", ("'depth' stands twice",)),
        ("depth: xtam", "depth: ", ("semseg <- depth",)),
        ("version: 2", "version: true", ("version True", "expected 2")),
        ("version: 2", "version: " + "[" * 2000, ("nested",)),
        ("version: 2", "version: 4", ("version 4", "expected 2, 3")),
        ("version: 2\n", "", ("version None", "expected 2")),
        ("version: 2", "version: 2\nexchange: {}", ("'exchange'", "nearest: 'exchanges'")),
        ("version: 2", "version: 2\naggregater: pad", ("'aggregater'", "nearest: 'aggregator'")),
        ("  semseg: {semseg", "  edge: none\n  semseg: {semseg", ("exchanges", "{target: {source: block}}")),
        ("{semseg: none, depth: global}", "global", ("exchanges", "{target: {source: block}}")),
        ("version: 2", "version: [2", ("parsed",)),
        ("version: 2", "version: 2\n\tbad: tab", ("parsed",)),
    ],
    ids=lambda part: str(part).strip().replace("\n", " / ")[:30],
)
def test_bad_files(file, old, new, expected):
    assert old in FILE
    file.write_text(FILE.replace(old, new, 1))
    fails(lambda: Architecture.load(file), *expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tasks: [semseg, depth]", "tasks: 5"),
        ("tasks: [semseg, depth]", "tasks: [[semseg], depth]"),
        ("aggregator: mteb", "aggregator: [mteb]"),
        ("messages: true", "messages: 1"),
        ("messages: true", "messages: [true]"),
    ],
)
def test_files_with_values_of_another_kind(file, old, new):
    file.write_text(FILE.replace(old, new, 1))
    fails(lambda: Architecture.load(file))


def test_files_that_are_none(tmp_path):
    fails(lambda: Architecture.load(tmp_path / "nowhere.yaml"), "nowhere.yaml", "no architecture file")
    fails(lambda: Architecture.load(tmp_path), "Is a directory")
    (tmp_path / "empty.yaml").write_text("")
    fails(lambda: Architecture.load(tmp_path / "empty.yaml"), "empty.yaml", "expected a mapping")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    fails(lambda: Architecture.load(tmp_path / "binary.yaml"), "binary.yaml", "UTF-8")


def test_file_is_plain_yaml(file):
    """Other programs read it without us."""
    content = yaml.safe_load(file.read_text())
    assert content["exchanges"]["depth"]["depth"] == "global"
