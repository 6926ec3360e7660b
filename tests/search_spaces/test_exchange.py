"""The exchange over all pairs against its formulas: mixtures, extraction, errors, and the module as a module."""

import io

import pytest
import torch

from search_spaces import BLOCKS, Architecture, Exchange, SearchSpace, SpaceError
from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import NATIVE
from tests.support import naive
from tests.support.errors import fails
from tests.support.exchanges import (
    ALL,
    CHANNELS,
    TASKS,
    assert_close,
    by_formula,
    chosen,
    count,
    draw,
    one_hot,
    supernet,
)
from tests.support.own_blocks import Copied, Learned, path_of

pytestmark = pytest.mark.usefixtures("double")


# ---- a space, one choice in it, and the formulas


def architectures(blocks: tuple[str, ...], aggregator: str) -> dict[str, Architecture]:
    """Every block on every pair where it is legal, random mixtures, and a target without messages."""
    space = SearchSpace(TASKS, blocks, aggregator)
    plans = {name: Architecture.uniform(TASKS, name, aggregator) for name in space.blocks if name != "none"}
    plans |= {f"random {seed}": Architecture.random(space, seed) for seed in range(2)}
    alone = plans["random 0"].exchanges | {("b", source): "none" for source in TASKS}
    return plans | {"b alone": Architecture(TASKS, alone, aggregator)}


CASES = {
    f"{aggregator} {kind} {name}": (blocks, architecture)
    for kind, blocks, aggregator in (
        ("all", ALL, "atrc"),
        ("native", NATIVE, "atrc"),
        ("all", ("none", "t_label", "xtam", "padnet_gate"), "mteb"),
        ("all", ("none", "s_label", "xtam", "padnet_conv"), "pad"),
    )
    for name, architecture in architectures(blocks, aggregator).items()
}


@pytest.mark.parametrize("case", CASES)
def test_one_hot_mixture_is_the_extracted_architecture(case):
    blocks, architecture = CASES[case]
    exchange = supernet(blocks, architecture.aggregator)
    inputs = draw()
    weights = one_hot(exchange, architecture)
    mixed = exchange(*inputs, weights)
    assert_close(mixed, by_formula(exchange, weights, *inputs))
    alone = exchange(*inputs, weights, chosen(exchange, architecture))
    # a target without messages leaves the fusing norm out, as the extracted network does
    receiving = [t for t in TASKS if any(architecture.exchanges[t, s] != "none" for s in TASKS)]
    assert_close({t: alone[t] for t in receiving}, {t: mixed[t] for t in receiving})
    single = exchange.extract(architecture)
    assert not single.training
    assert_close(single(*inputs), alone)


def test_target_without_sources():
    """Built for it alone, a target keeps its features, through one convolution where the aggregator has one."""
    features, logits, valid = draw()
    architecture = Architecture.uniform(TASKS, "none", "atrc")
    exchange = naive.randomise(Exchange(architecture, CHANNELS)).eval()
    state = exchange.aggregator.state_dict()
    assert_close(exchange(features), {t: naive.aggregate("atrc", state, t, features[t], []) for t in TASKS})
    for aggregator in ("mteb", "pad"):
        assert_close(Exchange(Architecture.uniform(TASKS, "none", aggregator), CHANNELS)(features), features)
    # and taken out of a space it runs
    row = {("b", source): "none" for source in TASKS}
    for aggregator in AGGREGATORS:
        alone = Architecture(TASKS, Architecture.uniform(TASKS, "global").exchanges | row, aggregator)
        assert supernet(aggregator=aggregator).extract(alone)(features, logits, valid)["b"].isfinite().all()


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_soft_mixture(aggregator):
    """Candidates add up by their weights; `none` only takes weight away."""
    exchange = supernet(aggregator=aggregator)
    weights = torch.rand(len(exchange.pairs), len(exchange.block_names)).softmax(1)
    for i, pair in enumerate(exchange.pairs):
        for k, name in enumerate(exchange.block_names):
            weights[i, k] *= name in exchange.plan.legal(pair)
    inputs = draw()
    assert_close(exchange(*inputs, weights), by_formula(exchange, weights, *inputs))


def test_single_architecture_against_formulas():
    """Built for an architecture from the start, norms affine as in a retraining."""
    inputs = draw()
    for aggregator in AGGREGATORS:
        architecture = Architecture.random(SearchSpace(TASKS, ALL, aggregator), 5)
        exchange = naive.randomise(Exchange(architecture, CHANNELS)).eval()
        weights = one_hot(exchange, architecture)
        assert_close(exchange(*inputs), by_formula(exchange, weights, *inputs))


def test_computed_pairs_in_any_order():
    exchange = supernet(NATIVE)
    weights = torch.rand(len(exchange.pairs), len(exchange.block_names))
    backwards = {name: served[::-1] for name, served in exchange.served.items()}
    inputs = draw()
    assert_close(exchange(*inputs, weights, backwards), exchange(*inputs, weights))


def test_extraction_refuses_what_the_space_lacks():
    with pytest.raises(SpaceError):
        supernet(("none", "global")).extract(Architecture.uniform(TASKS, "local"))


def test_extraction_for_tasks_in_another_order():
    """The same by task, or refused; never weights of other pairs."""
    exchange, inputs = supernet(NATIVE), draw()
    architecture = Architecture.random(SearchSpace(TASKS, NATIVE), 1)
    expected = exchange(*inputs, one_hot(exchange, architecture))
    turned = Architecture(TASKS[::-1], architecture.exchanges)
    try:
        refined = exchange.extract(turned)(*inputs)
    except SpaceError:
        return
    assert_close({task: refined[task] for task in TASKS}, expected)


def test_extraction_keeps_the_type():
    torch.set_default_dtype(torch.float32)
    exchange = supernet(("none", "global")).double()
    architecture = Architecture.uniform(TASKS, "global")
    features = draw()[0]
    inputs = {task: maps.double() for task, maps in features.items()}
    assert_close(exchange.extract(architecture)(inputs), exchange(inputs, weights=one_hot(exchange, architecture)))


def test_extraction_without_weights():
    name = path_of(Copied)
    exchange = supernet((name,), "pad")
    architecture = Architecture.uniform(TASKS, name, "pad")
    features = draw()[0]
    assert_close(exchange.extract(architecture)(features), exchange(features, weights=one_hot(exchange, architecture)))


# ---- errors, and the module as a module


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "none"])
@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_gradients_flow_to_features(name, aggregator):
    """From one target's output to its own features, and to those of each source."""
    features, logits, valid = draw(grad=True)
    exchange = naive.randomise(Exchange(Architecture.uniform(TASKS, name, aggregator), CHANNELS)).train()
    exchange(features, logits, valid)["a"].square().sum().backward()
    for task in TASKS:
        grad = features[task].grad
        assert grad is not None and grad.isfinite().all() and grad.any()
    # in its own row of the module, and nowhere else
    block = exchange.block(name)
    for i, (target, _) in enumerate(block.pairs):
        assert target == "a" or not any(p.grad[i].any() for p in block.parameters() if p.grad is not None)


def test_errors_of_inputs():
    features, logits, valid = draw()
    single = Exchange(Architecture.uniform(TASKS, "t_label"), CHANNELS)
    space = Exchange(SearchSpace(TASKS, NATIVE), CHANNELS)
    without = {task: maps for task, maps in features.items() if task != "b"}
    fails(lambda: single(without, logits), "no features for b")
    fails(lambda: single({}, logits), "no features for a")
    narrow = features | {"b": features["b"][:, :4]}
    fails(lambda: single(narrow, logits), "b", "(2, 4, 5, 4)", "(2, 6, 5, 4)")
    everywhere = {task: maps[:, :4] for task, maps in features.items()}
    fails(lambda: single(everywhere, logits), "(2, 4, 5, 4)", "(2, 6, 5, 4)")
    fails(lambda: single(features | {"c": features["c"][..., :-1]}, logits), "c", "(2, 6, 5, 3)", "(2, 6, 5, 4)")
    fails(lambda: single(features | {"c": features["c"][0]}, logits), "c", "(6, 5, 4)")
    fails(lambda: single(features), "regions", "a")
    fails(lambda: single(features, {"a": logits["a"], "b": logits["b"]}), "regions", "c")
    fails(lambda: single(features, logits | {"b": logits["b"][..., 1:]}), "regions of b", "(5, 3)", "(5, 4)")
    fails(lambda: space(features, logits, valid), "weights")


def test_error_for_a_missing_task_names_it():
    """The tasks that are expected are the exchange's, not those that were given."""
    features, _, _ = draw()
    single = Exchange(Architecture.uniform(TASKS, "global"), CHANNELS)
    with pytest.raises(SpaceError) as error:
        single({"a": features["a"], "c": features["c"]})
    assert "expected one of a, c" not in str(error.value)


def test_regions_are_required_only_where_read():
    exchange = Exchange(
        Architecture(("a", "b"), {("a", "a"): "none", ("a", "b"): "s_label", ("b", "a"): "none", ("b", "b"): "global"}),
        CHANNELS,
    )
    features, logits, _ = draw()
    assert exchange.region_tasks() == ("b",)
    exchange({t: features[t] for t in ("a", "b")}, {"b": logits["b"]})
    t_label = Architecture(
        ("a", "b"), {("a", "a"): "none", ("a", "b"): "t_label", ("b", "a"): "none", ("b", "b"): "none"}
    )
    assert Exchange(t_label, CHANNELS).region_tasks() == t_label.region_tasks() == ("a",)


def test_save_and_load():
    inputs = draw()
    exchange = supernet()
    weights = torch.rand(len(exchange.pairs), len(exchange.block_names))
    file = io.BytesIO()
    torch.save(exchange.state_dict(), file)
    file.seek(0)
    torch.manual_seed(8)
    other = Exchange(SearchSpace(TASKS, ALL), CHANNELS).eval()
    other.load_state_dict(torch.load(file))
    assert_close(other(*inputs, weights), exchange(*inputs, weights), 0)
    # a block by import path as well: its name becomes a key of the state
    own = Architecture.uniform(TASKS, path_of(Learned), "pad")
    first, second = (naive.randomise(Exchange(own, CHANNELS), seed) for seed in (0, 1))
    second.load_state_dict(first.state_dict())
    assert_close(second(inputs[0]), first(inputs[0]), 0)


def test_scales_are_made_equal_where_blocks_differ():
    """One block outside ATRC's: every message ends in a norm and ReLU, in a search without weights; else none does."""
    assert not Exchange(SearchSpace(TASKS, NATIVE), CHANNELS).norms
    mixed = Exchange(SearchSpace(TASKS, (*NATIVE, "padnet_gate")), CHANNELS)
    assert set(mixed.norms) == set(mixed.blocks) and not list(mixed.norms.parameters())
    assert not Exchange(Architecture.uniform(TASKS, "local"), CHANNELS).norms
    alone = Exchange(Architecture.uniform(TASKS, "xtam"), CHANNELS)
    assert count(alone.norms) == 6 * 2 * (CHANNELS // 2)
    assert not list(mixed.extract(Architecture.uniform(TASKS, "local")).norms.parameters())
    assert Exchange(SearchSpace(TASKS, NATIVE, normalize_messages=True), CHANNELS).norms
    assert not Exchange(Architecture.uniform(TASKS, "xtam", normalize_messages=False), CHANNELS).norms


def test_last_norms_rescale_outside_search_only():
    """In a search a candidate could buy itself weight with its scale; each of ATRC's has 2 d parameters fewer."""
    architecture = Architecture.uniform(TASKS, "global")
    alone, search = Exchange(architecture, CHANNELS), Exchange(SearchSpace(TASKS, ("none", "global")), CHANNELS)
    assert count(alone.blocks) - count(search.blocks) == 9 * 2 * (CHANNELS // 2)
    assert count(search.extract(architecture).blocks) == count(search.blocks)
    assert count(Exchange(architecture, CHANNELS, affine=False).blocks) == count(search.blocks)


def test_drops_into_any_network():
    """As the README shows it: tasks of any name, one module, the same shapes out."""
    torch.set_default_dtype(torch.float32)
    architecture = Architecture.uniform(("left", "right"), "xtam", "mteb")
    features = {task: torch.randn(1, 8, 5, 9) for task in ("left", "right")}
    refined = Exchange(architecture, channels=8)(features)
    assert {task: maps.shape for task, maps in refined.items()} == {t: (1, 8, 5, 9) for t in ("left", "right")}
