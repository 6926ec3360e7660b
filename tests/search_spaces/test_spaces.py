"""Search spaces: named ones, legal blocks, size, normalisation, settings."""

from types import SimpleNamespace

from experiment.config import SpaceSettings
from search_spaces import BLOCKS, SPACES, Architecture, SearchSpace
from tests.support.errors import fails

TASKS = ("semseg", "depth", "normals")
NINE = ("none", "global", "local", "t_label", "s_label", "xtam", "padnet_gate", "padnet_conv", "padnet_linear")


def test_named_spaces():
    assert {name: set(blocks) for name, blocks in SPACES.items()} == {
        "full": {"none", "global", "local", "t_label", "s_label", "xtam", "padnet_gate"},
        "atrc": {"none", "global", "local", "t_label", "s_label"},
        "densemtl": {"none", "xtam"},
        "padnet": {"none", "padnet_gate", "padnet_conv", "padnet_linear"},
        "extended": {*NINE},
        "modern": {"none", "global", "query", "deform", "target_gate", "low_rank"},
        "mtl_nas": {"none", "padnet_linear"},
        "all": set(BLOCKS),
    }
    assert set(BLOCKS) == {
        *NINE,
        *("xtam_channel", "xtam_both", "query", "deform", "target_gate", "low_rank"),
    }
    for name, blocks in SPACES.items():
        assert len(set(blocks)) == len(blocks)
        space = SearchSpace.from_settings(SpaceSettings(name=name), TASKS)
        assert (space.name, space.tasks, space.blocks, space.aggregator) == (name, TASKS, blocks, "atrc")


def test_legal_blocks():
    """On a task's own features s_label repeats t_label, and xtam and the PAD-Net pair modules are undefined."""
    space = SearchSpace(TASKS, SPACES["all"])
    between = tuple(BLOCKS)
    pairs_only = ("s_label", "xtam", "padnet_gate", "padnet_conv", "xtam_channel", "xtam_both")
    itself = tuple(n for n in BLOCKS if n not in pairs_only)
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


def test_normalize_messages():
    """Blocks of different scale compete as soon as one lies outside ATRC's, unless the settings fix it."""
    mixed = {name: SearchSpace(TASKS, blocks).normalize_messages for name, blocks in SPACES.items()}
    assert mixed == {name: name != "atrc" for name in SPACES}
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
    nothing = SimpleNamespace(name="full", blocks=[], aggregator="atrc", normalize=None)
    fails(lambda: SearchSpace.from_settings(nothing, TASKS), "space.blocks", "empty")
    fails(lambda: SearchSpace.from_settings(SpaceSettings(name="ful"), TASKS), "'ful'", "nearest: 'full'")
    fails(lambda: SearchSpace.from_settings(SpaceSettings(blocks=["xtan"]), TASKS), "'xtan'", "nearest: 'xtam'")
    fails(lambda: SearchSpace.from_settings(SpaceSettings(aggregator="artc"), TASKS), "'artc'", "nearest: 'atrc'")


def test_space_needs_different_tasks():
    fails(lambda: SearchSpace(("a", "a"), ("none",)), "a")
    fails(lambda: SearchSpace((), ("none",)))
