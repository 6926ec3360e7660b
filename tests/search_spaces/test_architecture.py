"""Architectures: validation, uniform and random ones, the regions that they read."""

import pytest

from search_spaces import BLOCKS, SPACES, Architecture, SearchSpace
from search_spaces.blocks import legal_on
from tests.support.errors import fails

TASKS = ("semseg", "depth", "normals")


def test_validation_without_a_file():
    good = Architecture.uniform(TASKS, "global").exchanges
    fails(lambda: Architecture((), {}), "tasks")
    fails(lambda: Architecture(TASKS, good | {("depth", "depth"): "xtam"}), "xtam", "depth <- depth")
    fails(lambda: Architecture(TASKS[:2], good), "'normals'", "semseg, depth")
    fails(lambda: Architecture.uniform(TASKS, "locl"), "'locl'", "nearest: 'local'")
    assert isinstance(Architecture(list(TASKS), good).tasks, tuple)  # type: ignore[arg-type]


def test_table():
    """For people: one row a target, blocks in the order of tasks, marks behind them."""
    exchanges = {("semseg", "semseg"): "t_label", ("semseg", "depth"): "xtam"}
    exchanges |= {("depth", "semseg"): "none", ("depth", "depth"): "global"}
    lines = Architecture(("semseg", "depth"), exchanges).table({("semseg", "depth"): "*"}).splitlines()
    assert [line.split() for line in lines[1:]] == [["semseg", "t_label", "xtam*"], ["depth", "none", "global"]]
    assert lines[0].split()[-2:] == ["semseg", "depth"]


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
        architecture = Architecture.uniform(TASKS, name, "pad")
        assert architecture.aggregator == "pad"
        for pair in architecture.pairs:
            on_self = pair[0] == pair[1] and not block.legal_on_self
            assert architecture.exchanges[pair] == ("none" if on_self else name)


def test_random():
    """Legal, the same for the same seed, another for another, and over seeds every legal block of every pair."""
    space = SearchSpace(TASKS, SPACES["extended"], "mteb", "extended")
    assert Architecture.random(space, 4) == Architecture.random(space, 4)
    seen: dict[tuple[str, str], set[str]] = {pair: set() for pair in space.pairs}
    for seed in range(100):
        architecture = Architecture.random(space, seed)
        assert (architecture.tasks, architecture.aggregator) == (space.tasks, "mteb")
        assert architecture.provenance["seed"] == seed and architecture.provenance["space"] == "extended"
        for pair, name in architecture.exchanges.items():
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
                needed = Architecture(TASKS, nothing | {pair: name}).region_tasks()
                assert needed == {"t_label": (pair[0],), "s_label": (pair[1],)}.get(name, ())
    both = nothing | {("semseg", "normals"): "s_label", ("semseg", "depth"): "t_label"}
    assert Architecture(TASKS, both).region_tasks() == ("semseg", "normals")  # in the order of tasks
