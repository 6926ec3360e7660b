"""Exchange at several scales: architectures and their files, the module, and what does not fit."""

import pytest
import torch
import yaml

from search_spaces import Architecture, Exchange, ScaledExchange, SearchSpace, SpaceError, build_exchange
from search_spaces.scales import pairs_of, place, places, scale_of, task_of
from supernet.records import pairs as records
from tests.support import naive

TASKS, SCALES = ("a", "b"), (0, 2)
BLOCKS = ("none", "global", "t_label", "padnet_gate")
CHANNELS, SIZES = {0: 4, 2: 6}, {0: (6, 5), 2: (3, 2)}
EXCHANGES = dict(
    zip(pairs_of(TASKS, SCALES), ["none", "t_label", "global", "none", "global", "none", "padnet_gate", "none"])
)


def draw():
    """Features of three scales, label regions and validity of those that are exchanged."""
    generator = torch.Generator().manual_seed(0)

    def maps(channels, size):
        return {task: torch.randn(2, channels, *size, generator=generator) for task in TASKS}

    features = {1: maps(3, (4, 4)), **{scale: maps(CHANNELS[scale], SIZES[scale]) for scale in SCALES}}
    regions = {scale: maps(3, SIZES[scale]) for scale in SCALES}
    valid = {scale: torch.rand(2, 1, *SIZES[scale], generator=generator) > 0.2 for scale in SCALES}
    return features, regions, valid


def test_places_are_tasks_at_scales():
    assert places(TASKS) == TASKS and places(TASKS, SCALES) == ("a@0", "b@0", "a@2", "b@2")
    assert pairs_of(TASKS, SCALES)[4:] == (("a@2", "a@2"), ("a@2", "b@2"), ("b@2", "a@2"), ("b@2", "b@2"))
    for name, task, scale in (("a", "a", None), (place("a", 2), "a", 2)):
        assert (task_of(name), scale_of(name)) == (task, scale)
        # the records cannot import the above, which loads torch
        assert (records.task_of(name), records.scale_of(name)) == (task, "" if scale is None else str(scale))


def test_a_file_of_several_scales_is_read_back(tmp_path):
    architecture = Architecture(TASKS, EXCHANGES, "mteb", True, {"source": "search"})
    architecture.save(tmp_path / "architecture.yaml")
    content = yaml.safe_load((tmp_path / "architecture.yaml").read_text())
    assert content["version"] == 3 and content["tasks"] == ["a", "b"]
    assert content["exchanges"][2] == {"a": {"a": "global", "b": "none"}, "b": {"a": "padnet_gate", "b": "none"}}
    found = Architecture.load(tmp_path / "architecture.yaml")
    assert found == architecture and found.scales == SCALES and found.region_tasks() == ("a",)
    assert found.at(2) == Architecture(TASKS, found.at(2).exchanges, "mteb", True) and found.at(2).scales == ()
    assert "scale 0\ntarget" in found.table() and found.at(2).table() in found.table()


@pytest.mark.parametrize(
    ("exchanges", "part"),
    [
        ("{a: {a: none}}", "{scale: {target: {source: block}}}"),
        ("{0: {a: none}}", "{scale: {target: {source: block}}}"),
        ("{-1: {a: {a: none}}}", "{scale: {target: {source: block}}}"),
        ("[1]", "{scale: {target: {source: block}}}"),
        ("{0: {a: {a: none, b: none}}}", "no block for b@0 <- a@0"),
    ],
)
def test_damaged_files_are_refused_in_one_line(exchanges, part, tmp_path):
    path = tmp_path / "architecture.yaml"
    path.write_text(f"version: 3\ntasks: [a, b]\nexchanges: {exchanges}\n")
    with pytest.raises(SpaceError) as error:
        Architecture.load(path)
    assert part in str(error.value) and "\n" not in str(error.value)


def test_what_does_not_fit_is_refused():
    architecture = Architecture(TASKS, EXCHANGES)
    with pytest.raises(SpaceError, match="joins two scales"):
        Architecture(TASKS, {**EXCHANGES, ("a@0", "b@2"): "none"})
    with pytest.raises(SpaceError, match="build_exchange"):
        Exchange(architecture, 4)
    with pytest.raises(SpaceError, match="channels of each"):
        build_exchange(architecture, 4)
    with pytest.raises(SpaceError, match=r"channels are of \[0\]"):
        build_exchange(architecture, {0: 4})
    with pytest.raises(SpaceError, match="no features of scale 2"):
        build_exchange(architecture, CHANNELS)({0: draw()[0][0]})
    with pytest.raises(SpaceError, match="separates tasks from scales"):
        SearchSpace(("a@1", "b"), BLOCKS)
    for scales in ([0, 0], [-1], [True]):
        with pytest.raises(SpaceError, match="different whole numbers"):
            SearchSpace(TASKS, BLOCKS, scales=scales)


@pytest.mark.parametrize("aggregator", ["mteb", "pad", "atrc"])
def test_a_scale_without_messages_leaves_the_other_as_one_scale_alone(aggregator):
    """With mteb and pad it also leaves its own features; the aggregator of atrc maps them, as uniform:none does."""
    coarse_none = {pair: "none" if pair[0].endswith("2") else name for pair, name in EXCHANGES.items()}
    exchange = build_exchange(Architecture(TASKS, coarse_none, aggregator), CHANNELS, seed=1)
    naive.randomise(exchange)
    exchange.eval()
    features, regions, valid = draw()
    refined = exchange(features, regions, valid)
    alone = Exchange(exchange.plan.at(0), CHANNELS[0]).eval()
    alone.load_state_dict(exchange.by_scale[0].state_dict())
    own = alone(features[0], regions[0], valid[0])
    for task in TASKS:
        torch.testing.assert_close(refined[0][task], own[task], rtol=0, atol=0)
        torch.testing.assert_close(refined[1][task], features[1][task], rtol=0, atol=0)
        same = torch.equal(refined[2][task], features[2][task])
        assert same == (aggregator != "atrc") and not torch.equal(refined[0][task], features[0][task])


def test_an_extracted_architecture_gives_what_its_supernet_gives():
    space = SearchSpace(TASKS, BLOCKS, scales=SCALES)
    supernet = build_exchange(space, CHANNELS, seed=2)
    naive.randomise(supernet)
    supernet.eval()
    weights = torch.zeros(8, len(BLOCKS))
    for i, pair in enumerate(space.pairs):
        weights[i, BLOCKS.index(EXCHANGES[pair])] = 1
    architecture = Architecture.from_space(space, EXCHANGES)
    active = {name: [i for i, pair in enumerate(space.pairs) if EXCHANGES[pair] == name] for name in BLOCKS}
    features, regions, valid = draw()
    expected = supernet(features, regions, valid, weights, active)
    single = supernet.extract(architecture)
    assert isinstance(single, ScaledExchange) and single.plan.exchanges == EXCHANGES
    for scale in SCALES:
        for task in TASKS:
            found = single(features, regions, valid)[scale][task]
            torch.testing.assert_close(found, expected[scale][task], rtol=1e-5, atol=1e-6)
    again = build_exchange(single.plan, CHANNELS, affine=False)
    again.load_state_dict(single.state_dict())
    torch.testing.assert_close(again.eval()(features, regions, valid)[2]["a"], single(features, regions, valid)[2]["a"])
    with pytest.raises(SpaceError, match="the architecture has the scales"):
        supernet.extract(architecture.at(0))


def test_every_scale_and_seed_has_initial_weights_of_its_own():
    plan = Architecture.uniform(TASKS, "padnet_gate", scales=SCALES)
    same = {0: 4, 2: 4}
    one, again, other = (build_exchange(plan, same, seed=seed).state_dict() for seed in (0, 0, 1))
    name = next(key.partition("parts.0.")[2] for key in one if key.endswith("conv.weight") or "blocks" in key)
    assert torch.equal(one[f"parts.0.{name}"], again[f"parts.0.{name}"])
    assert not torch.equal(one[f"parts.0.{name}"], other[f"parts.0.{name}"])
    assert not torch.equal(one[f"parts.0.{name}"], one[f"parts.2.{name}"])


def test_baselines_of_a_space_with_scales():
    space = SearchSpace(TASKS, BLOCKS, scales=SCALES)
    drawn = Architecture.random(space, 0)
    assert drawn.scales == SCALES and drawn == Architecture.random(space, 0) != Architecture.random(space, 1)
    uniform = Architecture.uniform(TASKS, "global", scales=SCALES)
    assert set(uniform.exchanges.values()) == {"global"} and len(uniform.exchanges) == 8
    assert space.size() == (3 * 3 * 4 * 4) ** 2  # the gate is not legal on the self-pairs
