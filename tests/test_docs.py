"""The documentation agrees with the code: links, configuration keys, commands, file formats, worked examples."""

import dataclasses
import importlib
import re
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.measures.runs import read_seed
from experiment.config import Config, DataSettings
from multitask.data import open_dataset
from multitask.testing import check_dataset
from search_spaces import Architecture
from supernet.records import branching_history, choices, costs, samples, selection_history
from tests.support.folders import write_folder, write_own_labels
from tests.support.pages import ROOT, commands, fenced, run

PAGES = sorted((ROOT / "docs").glob("*.md"))
NOTES = sorted((ROOT / "docs/log").glob("*.md"))


def fields_of(group: type, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """{dotted key: (type, default)} of a configuration dataclass and the groups below it."""
    keys: dict[str, tuple[Any, Any]] = {}
    hints = typing.get_type_hints(group)
    for item in dataclasses.fields(group):
        default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        if dataclasses.is_dataclass(default):
            keys |= fields_of(type(default), f"{prefix}{item.name}.")
        else:
            keys[prefix + item.name.removesuffix("_")] = (hints[item.name], default)
    return keys


def type_name(hint: Any) -> str:
    """A type as docs/configuration.md spells it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return f"list of {type_name(parts[0])}"
    if origin is tuple:
        return f"{len(parts)} {type_name(parts[0])}s"
    if origin is dict:
        return f"{{{type_name(parts[0])}: {type_name(parts[1])}}}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(type_name, parts))
    return {types.NoneType: "null", Any: "any"}.get(hint) or hint.__name__


def written(default: Any) -> str:
    """A default as YAML on one line."""
    plain = list(default) if isinstance(default, tuple) else default
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_configuration_lists_every_key_with_its_type_and_default():
    text = (ROOT / "docs/configuration.md").read_text()
    keys = fields_of(Config)
    begins = [f"| `{key}` | {type_name(hint)} | `{written(default)}` |" for key, (hint, default) in keys.items()]
    assert [row for row in begins if row not in text] == [], "rows begin otherwise"
    assert re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE) == list(keys), "other keys, or another order"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES, *NOTES], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_options_and_settings_exist(page):
    """Every --group.key, and every `group.key` in code style, is a key of the configuration."""
    keys = set(fields_of(Config))
    groups = {key.rpartition(".")[0] for key in keys} | {""}
    text = page.read_text()
    named = re.findall(r"--(\w+\.[\w.]+\w)", text) + re.findall(r"`(\w+\.[\w.]*\w)`", text)
    for name in named:
        if name.partition(".")[0] in groups and not name.endswith((".py", ".md", ".csv", ".yaml", ".json", ".db")):
            assert any(name == key or name.startswith(f"{key}.") for key in keys) or name in groups, name


def test_glossary_holds_each_term_once_in_order():
    text = (ROOT / "docs/glossary.md").read_text()
    terms = [row.partition(" |")[0][2:].lower() for row in text.splitlines() if row.startswith("| ")][1:]
    assert terms == sorted(set(terms))


def test_example_files_are_read(tmp_path):
    text = (ROOT / "docs/files.md").read_text()
    example = next(code for code in fenced(text, "yaml") if "exchanges:" in code)
    (tmp_path / "architecture.yaml").write_text(example)
    architecture = Architecture.load(tmp_path / "architecture.yaml")
    assert architecture.exchanges["semseg", "depth"] == "xtam" and architecture.normalize_messages
    (tmp_path / "metrics.json").write_text(fenced(text, "json")[0])
    assert read_seed(tmp_path).tasks["depth"].value == 0.61


def test_columns_of_tables_are_those_that_are_written():
    text = (ROOT / "docs/files.md").read_text()
    for columns in (branching_history.COLUMNS, selection_history.COLUMNS, costs.COLUMNS, samples.COLUMNS):
        assert f"`{','.join(columns)}`" in text
    section = text.split("## choices.csv")[1].split("\n## ")[0]
    described = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", " ".join(described))) == choices.COLUMNS


def test_folders_dicts_and_checks_of_extensions_exist():
    text = (ROOT / "docs/extending.md").read_text()
    table = text.split("|---|---|---|---|\n")[1].splitlines()
    rows = [[cell.strip(" `") for cell in line.split("|")[2:5]] for line in table]
    assert len(rows) >= 9
    for place, entries, check in rows:
        assert (ROOT / place).exists(), place
        module = importlib.import_module(place.removesuffix(".py").replace("/", "."))
        assert not entries.isupper() or hasattr(module, entries), entries
        package, _, name = check.rpartition(".")
        assert not check or hasattr(importlib.import_module(package), name), check


def test_worked_examples_join_a_search_and_pass_their_checks(tmp_path, monkeypatch):
    """The classes of docs/extending.md, in files as named there, and the commands below them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = (ROOT / "docs/extending.md").read_text()
    for code in fenced(text, "python"):
        name = re.match(r"# (my_\w+\.py)\n", code)
        assert name, "an example opens with the name of its file"
        (tmp_path / name[1]).write_text(code)
        assert sum(map(bool, code.splitlines())) <= 40, "an example has at most 40 lines that are not blank"
    write_own_labels(write_folder(tmp_path / "ROOT", (("train", 8), ("val", 3), ("test", 3))))
    assert len(commands(text)) == 6
    for line in commands(text):
        run(line, tmp_path / "ROOT")
        written = "architecture.yaml" if line[1] == "search.py" else "seed_0/metrics.json"
        assert (tmp_path / line[line.index("--output") + 1] / written).is_file()
    assert "my_blocks:Difference" in (tmp_path / "runs/own/selection.csv").read_text()
    for name in ("my_checks", "my_scales"):
        importlib.import_module(name)
    data = DataSettings(
        name="folder", root="ROOT", height=32, width=48, tasks=["my_albedo:Albedo", "my_keypoints:Keypoints"]
    )
    check_dataset(open_dataset(data))
    metrics = yaml.safe_load((tmp_path / "runs/own_metric/seed_0/metrics.json").read_text())["tasks"]["depth"]
    assert metrics["rmse"]["primary"] and not metrics["within_25_cm"]["primary"]
    assert 0 <= metrics["within_25_cm"]["value"] <= 1
