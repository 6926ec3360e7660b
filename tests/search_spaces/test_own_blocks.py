"""A user's blocks by import path: where they may lie, and what is refused."""

import sys
from pathlib import Path

import pytest

from experiment.config import SpaceSettings
from search_spaces import Architecture, SearchSpace, SpaceError
from tests.support.errors import fails

TASKS = ("semseg", "depth", "normals")


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
    architecture = Architecture.uniform(TASKS, name)
    architecture.save(tmp_path / "a.yaml")
    assert Architecture.load(tmp_path / "a.yaml") == architecture
    assert architecture.exchanges["depth", "depth"] == "none"


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
