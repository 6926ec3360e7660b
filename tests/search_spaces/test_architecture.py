"""Architecture files, and the spaces that they come from."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiment.config import SpaceSettings
from search_spaces import BLOCKS, SPACES, Architecture, SearchSpace, SpaceError
from search_spaces.blocks import legal_on

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


def fails(call: Callable[[], object], *expected: str) -> str:
    """One line that holds each expected part."""
    with pytest.raises(SpaceError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    for part in expected:
        assert part in message, message
    return message


# ---- files


def test_load(file):
    found = Architecture.load(file)
    assert found.tasks == ("semseg", "depth")
    assert found.aggregator == "mteb"
    assert found.exchanges == {
        ("semseg", "semseg"): "t_label",
        ("semseg", "depth"): "xtam",
        ("depth", "semseg"): "none",
        ("depth", "depth"): "global",
    }
    assert found.provenance == {"space": "full", "seed": 3, "source": "search"}
    assert found.pairs == (("semseg", "semseg"), ("semseg", "depth"), ("depth", "semseg"), ("depth", "depth"))
    assert Architecture.load(str(file)) == found


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
    found = Architecture.uniform(tasks, "global")
    found.save(tmp_path / "a.yaml")
    assert Architecture.load(tmp_path / "a.yaml") == found


def test_equality_ignores_provenance(file):
    found = Architecture.load(file)
    assert found == Architecture(found.tasks, dict(reversed(found.exchanges.items())), "mteb", True, {"seed": 99})
    assert found != Architecture(found.tasks, found.exchanges, "atrc")
    assert found != Architecture(found.tasks, found.exchanges, "mteb", False)
    assert found != Architecture(found.tasks, found.exchanges | {("depth", "depth"): "local"}, "mteb")


def test_defaults(tmp_path):
    """Aggregator, tasks and provenance may be left out; tasks are then those of the rows, in order."""
    path = tmp_path / "a.yaml"
    path.write_text("version: 1\nexchanges:\n  b: {b: none, a: local}\n  a: {a: none, b: none}\n")
    found = Architecture.load(path)
    assert (found.tasks, found.aggregator, found.provenance) == (("b", "a"), "atrc", {})


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
    found = Architecture.load(path)
    assert found.tasks == ("semseg", "saliency", "depth")
    assert found.aggregator == "atrc" and found.normalize_messages is False
    names = ("none", "global", "local", "t_label", "s_label")
    ours = {"semseg": "semseg", "sal": "saliency", "depth": "depth"}
    for target, row in genotype.items():
        for source, number in row.items():
            assert found.exchanges[ours[target], ours[source]] == names[number]
    found.save(tmp_path / "a.yaml")
    assert Architecture.load(tmp_path / "a.yaml") == found


@pytest.mark.parametrize(
    ("genotype", "expected"),
    [
        ('{"a": {"a": 5}}', ("5", "0 to 4")),
        ('{"a": {"a": -1}}', ("-1", "0 to 4")),
        ('{"a": {"a": "global"}}', ("global", "0 to 4")),
        ('{"a": {"a": 4}}', ("s_label", "a <- a")),
        ('{"a": {"a": 1, "b": 1}}', ("'b'",)),
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
        ("aggregator: mteb", "aggregator:", ("aggregator", "atrc, mteb, pad")),
        ("version: 2", "version: 3", ("version 3", "expected 2")),
        ("version: 2\n", "", ("version None", "expected 2")),
        ("version: 2", "version: 2\nexchange: {}", ("'exchange'", "nearest: 'exchanges'")),
        ("version: 2", "version: 2\naggregater: pad", ("'aggregater'", "nearest: 'aggregator'")),
        ("exchanges:\n", "exchanges: none\nprovenance:\n", ("exchanges", "{target: {source: block}}")),
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
    fails(lambda: Architecture.load(tmp_path), "no architecture file")
    (tmp_path / "empty.yaml").write_text("")
    fails(lambda: Architecture.load(tmp_path / "empty.yaml"), "empty.yaml", "expected a mapping")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    fails(lambda: Architecture.load(tmp_path / "binary.yaml"), "binary.yaml", "parsed")


def test_validation_without_a_file():
    good = Architecture.uniform(TASKS, "global").exchanges
    fails(lambda: Architecture((), {}), "tasks")
    fails(lambda: Architecture(TASKS, good | {("depth", "depth"): "xtam"}), "xtam", "depth <- depth")
    fails(lambda: Architecture(TASKS[:2], good), "'normals'", "semseg, depth")
    fails(lambda: Architecture.uniform(TASKS, "locl"), "'locl'", "nearest: 'local'")
    assert isinstance(Architecture(list(TASKS), good).tasks, tuple)  # type: ignore[arg-type]


def test_table(file):
    """For people: one row a target, blocks in the order of tasks, marks behind them."""
    lines = Architecture.load(file).table({("semseg", "depth"): "*"}).splitlines()
    assert [line.split() for line in lines[1:]] == [["semseg", "t_label", "xtam*"], ["depth", "none", "global"]]
    assert lines[0].split()[-2:] == ["semseg", "depth"]


# ---- what others make of it


@pytest.mark.parametrize("rule", [True, False])
def test_architectures_of_a_space_have_its_rule(rule):
    """So that they differ in their blocks only."""
    space = SearchSpace(TASKS, SPACES["atrc"], "pad", normalize_messages=rule)
    exchanges = Architecture.uniform(TASKS, "xtam").exchanges
    for architecture in (Architecture.random(space, 0), Architecture.from_space(space, exchanges, {"seed": 1})):
        assert (architecture.tasks, architecture.aggregator) == (TASKS, "pad")
        assert architecture.normalize_messages is rule
    assert Architecture.uniform(TASKS, "xtam", "pad", rule).normalize_messages is rule


def test_uniform():
    for name, block in BLOCKS.items():
        found = Architecture.uniform(TASKS, name, "pad")
        assert found.aggregator == "pad"
        for pair in found.pairs:
            on_self = pair[0] == pair[1] and not block.legal_on_self
            assert found.exchanges[pair] == ("none" if on_self else name)


def test_random():
    """Legal, the same for the same seed, another for another, and over seeds every legal block of every pair."""
    space = SearchSpace(TASKS, SPACES["extended"], "mteb", "extended")
    assert Architecture.random(space, 4) == Architecture.random(space, 4)
    seen: dict[tuple[str, str], set[str]] = {pair: set() for pair in space.pairs}
    for seed in range(100):
        found = Architecture.random(space, seed)
        assert (found.tasks, found.aggregator) == (space.tasks, "mteb")
        assert found.provenance["seed"] == seed and found.provenance["space"] == "extended"
        for pair, name in found.exchanges.items():
            seen[pair].add(name)
    assert all(seen[pair] == set(space.legal(pair)) for pair in space.pairs)
    draws = [tuple(Architecture.random(space, seed).exchanges.values()) for seed in range(10)]
    assert len(set(draws)) == 10


def test_random_is_uniform():
    """1200 draws of five blocks: each within four standard deviations of a fifth."""
    space = SearchSpace(("a", "b"), SPACES["atrc"])
    counts = dict.fromkeys(space.blocks, 0)
    for seed in range(1200):
        counts[Architecture.random(space, seed).exchanges["a", "b"]] += 1
    assert all(abs(count - 240) < 4 * (1200 * 0.2 * 0.8) ** 0.5 for count in counts.values())


def test_region_tasks():
    """t_label reads the target's regions, s_label the source's, nothing else any."""
    nothing = Architecture.uniform(TASKS, "none").exchanges
    for name in BLOCKS:
        for pair in SearchSpace(TASKS, (name,)).pairs:
            if legal_on(name, pair):
                found = Architecture(TASKS, nothing | {pair: name}).region_tasks()
                assert found == {"t_label": (pair[0],), "s_label": (pair[1],)}.get(name, ())
    both = nothing | {("semseg", "normals"): "s_label", ("semseg", "depth"): "t_label"}
    assert Architecture(TASKS, both).region_tasks() == ("semseg", "normals")  # in the order of tasks


# ---- spaces


def test_named_spaces():
    assert {name: set(blocks) for name, blocks in SPACES.items()} == {
        "full": {"none", "global", "local", "t_label", "s_label", "xtam", "padnet_gate"},
        "atrc": {"none", "global", "local", "t_label", "s_label"},
        "densemtl": {"none", "xtam"},
        "padnet": {"none", "padnet_gate", "padnet_conv", "padnet_linear"},
        "extended": set(BLOCKS),
    }
    assert set(BLOCKS) == {
        *("none", "global", "local", "t_label", "s_label", "xtam", "padnet_gate", "padnet_conv", "padnet_linear")
    }
    for name, blocks in SPACES.items():
        assert len(set(blocks)) == len(blocks)
        space = SearchSpace.from_settings(SpaceSettings(name=name), TASKS)
        assert (space.name, space.tasks, space.blocks, space.aggregator) == (name, TASKS, blocks, "atrc")


def test_legal_blocks():
    """On a task's own features s_label repeats t_label, and xtam and the PAD-Net pair modules are undefined."""
    space = SearchSpace(TASKS, SPACES["extended"])
    between = tuple(BLOCKS)
    itself = tuple(n for n in BLOCKS if n not in ("s_label", "xtam", "padnet_gate", "padnet_conv"))
    for pair in space.pairs:
        assert space.legal(pair) == (itself if pair[0] == pair[1] else between)
    assert len(space.pairs) == 9
    densemtl = SearchSpace(TASKS, SPACES["densemtl"])
    assert densemtl.legal(("depth", "depth")) == ("none",)
    fails(lambda: space.legal(("depth", "dept")), "'dept'", "nearest: 'depth'")


def test_none_is_always_legal():
    space = SearchSpace(TASKS, ("global", "local", "global"))
    assert sorted(space.blocks) == ["global", "local", "none"]
    assert all("none" in space.legal(pair) for pair in space.pairs)
    settings = SpaceSettings(blocks=["xtam"])
    assert "none" in SearchSpace.from_settings(settings, TASKS).legal(("depth", "depth"))


def test_size():
    """ATRC, four tasks: 12 pairs of five candidates, 4 of four."""
    assert SearchSpace(("a", "b", "c", "d"), SPACES["atrc"]).size() == 5**12 * 4**4
    assert SearchSpace(("a", "b"), SPACES["densemtl"]).size() == 4
    assert SearchSpace(("a", "b"), SPACES["full"]).size() == 7**2 * 4**2
    assert SearchSpace(("a",), ("none",)).size() == 1


def test_is_mixed():
    """Blocks of different scale compete as soon as one lies outside ATRC's, unless the settings say otherwise."""
    mixed = {name: SearchSpace(TASKS, blocks).normalize_messages for name, blocks in SPACES.items()}
    assert mixed == {"full": True, "atrc": False, "densemtl": True, "padnet": True, "extended": True}
    assert SearchSpace(TASKS, ("global",)).normalize_messages is False
    assert SearchSpace(TASKS, ("global",), normalize_messages=True).normalize_messages is True
    assert SearchSpace(TASKS, SPACES["full"], normalize_messages=False).normalize_messages is False
    settings = SpaceSettings(name="atrc", normalize=True)
    assert SearchSpace.from_settings(settings, TASKS).normalize_messages is True
    for name in BLOCKS:
        assert Architecture.uniform(TASKS, name).normalize_messages == (name not in SPACES["atrc"])


def test_settings():
    settings = SpaceSettings(name="atrc", blocks=["none", "local"], aggregator="pad")
    space = SearchSpace.from_settings(settings, list(TASKS))
    assert (space.name, space.blocks, space.aggregator) == ("custom", ("none", "local"), "pad")
    fails(lambda: SearchSpace.from_settings(SpaceSettings(blocks=[]), TASKS), "space.blocks", "empty")
    fails(lambda: SearchSpace.from_settings(SpaceSettings(name="ful"), TASKS), "'ful'", "nearest: 'full'")
    fails(lambda: SearchSpace.from_settings(SpaceSettings(blocks=["xtan"]), TASKS), "'xtan'", "nearest: 'xtam'")
    fails(lambda: SearchSpace.from_settings(SpaceSettings(aggregator="artc"), TASKS), "'artc'", "nearest: 'atrc'")


def test_space_needs_different_tasks():
    fails(lambda: SearchSpace(("a", "a"), ("none",)), "a")
    fails(lambda: SearchSpace((), ("none",)))


# ---- a user's own blocks


OWN = """
from torch import nn

class Shift(nn.Module):
    legal_on_self = False

    def __init__(self, channels, message_channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, message_channels, 1)

    def forward(self, target, source):
        return self.conv(source.roll(1, 3))

number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a package of the user's own; the import path is put back afterwards."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_block.py").write_text(OWN)
    (tmp_path / "my_package" / "broken.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "my_package" / "faulty.py").write_text("import math\nmath.no_such_function\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(Path.cwd())])
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.mark.parametrize("found_by", ["working folder", "import path"])
def test_own_block_by_import_path(own, monkeypatch, tmp_path, found_by):
    if found_by == "working folder":
        monkeypatch.chdir(own)
    else:
        monkeypatch.syspath_prepend(own)
    name = "my_package.my_block:Shift"
    space = SearchSpace.from_settings(SpaceSettings(blocks=["none", "global", name]), TASKS)
    assert space.legal(("depth", "semseg")) == ("none", "global", name)
    assert space.legal(("depth", "depth")) == ("none", "global")
    assert space.normalize_messages
    found = Architecture.uniform(TASKS, name)
    found.save(tmp_path / "a.yaml")
    assert Architecture.load(tmp_path / "a.yaml") == found
    assert found.exchanges["depth", "depth"] == "none"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my_package.my_block:Shfit", ("'Shfit'", "nearest: 'Shift'")),
        ("my_package.my_block:number", ("torch.nn.Module",)),
        ("my_package.my_blok:Shift", ("my_package.my_blok", "package.module:Class")),
        ("my_package.broken:Shift", ("a_module_that_is_not_there",)),
        ("my_package.my_block.Shift", ("my_package.my_block.Shift",)),
        ("my_package.my_block:", ("my_package.my_block",)),
    ],
)
def test_own_blocks_that_are_none(own, monkeypatch, name, expected):
    monkeypatch.chdir(own)
    fails(lambda: SearchSpace(TASKS, (name,)), *expected)


@pytest.mark.parametrize("name", [":Shift", ".my_block:Shift"])
def test_import_paths_without_a_package(own, monkeypatch, name):
    monkeypatch.chdir(own)
    fails(lambda: SearchSpace(TASKS, (name,)), "package.module:Class")


def test_fault_inside_an_own_block(own, monkeypatch):
    """The user's own mistake shows, not one that it caused in us."""
    monkeypatch.chdir(own)
    with pytest.raises((SpaceError, AttributeError), match="no_such_function"):
        SearchSpace(TASKS, ("my_package.faulty:Shift",))


def test_file_is_plain_yaml(file):
    """Other programs read it without us."""
    content = yaml.safe_load(file.read_text())
    assert content["exchanges"]["depth"]["depth"] == "global"
