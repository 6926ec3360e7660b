"""The exchange over all pairs against plain formulas: mixing, extraction, aggregation, masks, order and cost."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from search_spaces import BLOCKS, SPACES, Architecture, Exchange, SearchSpace, SpaceError
from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import NATIVE
from supernet.supernet import Supernet
from tests.search_spaces.test_architecture import fails
from tests.support import naive

TASKS = ("a", "b", "c")
REGIONS = {"a": 2, "b": 3, "c": 5}
CHANNELS, SIZE = 6, (5, 4)
ALL = SPACES["extended"]

Maps = dict[str, Tensor]


@pytest.fixture(autouse=True)
def double():
    """float64, to compare digits."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def draw(grad: bool = False) -> tuple[Maps, Maps, Tensor]:
    """Features, logits of the regions, and validity: some padding on the right, more in the second image."""
    generator = torch.Generator().manual_seed(1)
    features = {t: torch.randn(2, CHANNELS, *SIZE, generator=generator).requires_grad_(grad) for t in TASKS}
    logits = {t: 2 * torch.randn(2, REGIONS[t], *SIZE, generator=generator) for t in TASKS}
    valid = torch.ones(2, 1, *SIZE, dtype=torch.bool)
    valid[0, :, :, 3:] = False
    valid[1, :, 2:, 2:] = False
    return features, logits, valid


def supernet(blocks: tuple[str, ...] = ALL, aggregator: str = "atrc", tasks: tuple[str, ...] = TASKS) -> Exchange:
    torch.manual_seed(2)
    exchange = Exchange(SearchSpace(tasks, blocks, aggregator), CHANNELS)
    naive.randomise(exchange)
    return exchange.eval()


def one_hot(exchange: Exchange, architecture: Architecture) -> Tensor:
    weights = torch.zeros(len(exchange.pairs), len(exchange.block_names))
    for i, pair in enumerate(exchange.pairs):
        weights[i, exchange.block_names.index(architecture.exchanges[pair])] = 1
    return weights


def chosen(exchange: Exchange, architecture: Architecture) -> dict[str, list[int]]:
    pairs = list(enumerate(exchange.pairs))
    return {name: [i for i, pair in pairs if architecture.exchanges[pair] == name] for name in exchange.block_names}


def plain_message(exchange: Exchange, name: str, pair: tuple[str, str], features: Maps, regions: Maps) -> Tensor:
    """One candidate of one pair, with the exchange's weights."""
    target, source = pair
    if name == "none":
        return torch.zeros(2, exchange.message_channels, *SIZE)
    block = exchange.block(name)
    row = block.pairs.index(pair)
    message = naive.message(
        name,
        block.pair_state(row),
        features[target],
        features[source],
        regions[target],
        regions[source],
        exchange.message_channels,
    )
    if exchange.normalize_messages:
        state = exchange.norms[name].state_dict()
        message = naive.rescale(message, {key: value[row] for key, value in state.items()})
    return message


def plain(exchange: Exchange, weights: Tensor, features: Maps, logits: Maps, valid: Tensor | None) -> Maps:
    """The refined features of a space under mixture weights, pair by pair and candidate by candidate."""
    regions = {task: naive.regions(maps, valid) for task, maps in logits.items()}
    refined = {}
    for target in exchange.tasks:
        messages = []
        for source in exchange.sources[target]:
            row = weights[exchange.pairs.index((target, source))]
            parts = [
                row[k] * plain_message(exchange, name, (target, source), features, regions)
                for k, name in enumerate(exchange.block_names)
                if row[k] > 0
            ]
            messages.append(sum(parts))
        state = exchange.aggregator.state_dict()
        refined[target] = naive.aggregate(exchange.plan.aggregator, state, target, features[target], messages)
    return refined


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-10) -> None:
    assert list(found) == list(expected)
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], rtol=tolerance, atol=tolerance)


# ---- a space, one choice in it, and the formulas


def architectures(blocks: tuple[str, ...], aggregator: str) -> dict[str, Architecture]:
    """Every block on every pair where it is legal, random mixtures, and a target that listens to nobody."""
    space = SearchSpace(TASKS, blocks, aggregator)
    found = {name: Architecture.uniform(TASKS, name, aggregator) for name in space.blocks if name != "none"}
    found |= {f"random {seed}": Architecture.random(space, seed) for seed in range(2)}
    alone = found["random 0"].exchanges | {("b", source): "none" for source in TASKS}
    return found | {"b alone": Architecture(TASKS, alone, aggregator)}


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
    close(mixed, plain(exchange, weights, *inputs))
    alone = exchange(*inputs, weights, chosen(exchange, architecture))
    # a target to which nobody speaks leaves the fusing norm out, as the extracted network does
    spoken_to = [t for t in TASKS if any(architecture.exchanges[t, s] != "none" for s in TASKS)]
    close({t: alone[t] for t in spoken_to}, {t: mixed[t] for t in spoken_to})
    single = exchange.extract(architecture)
    assert not single.training
    close(single(*inputs), alone)


def test_target_that_listens_to_nobody():
    """Built for it alone, a target keeps its features, through one convolution where the aggregator has one."""
    features, logits, valid = draw()
    architecture = Architecture.uniform(TASKS, "none", "atrc")
    exchange = naive.randomise(Exchange(architecture, CHANNELS)).eval()
    state = exchange.aggregator.state_dict()
    close(exchange(features), {t: naive.aggregate("atrc", state, t, features[t], []) for t in TASKS})
    for aggregator in ("mteb", "pad"):
        close(Exchange(Architecture.uniform(TASKS, "none", aggregator), CHANNELS)(features), features)
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
    close(exchange(*inputs, weights), plain(exchange, weights, *inputs))


def test_single_architecture_against_formulas():
    """Built for an architecture from the start, norms affine as in a retraining."""
    inputs = draw()
    for aggregator in AGGREGATORS:
        architecture = Architecture.random(SearchSpace(TASKS, ALL, aggregator), 5)
        exchange = naive.randomise(Exchange(architecture, CHANNELS)).eval()
        weights = one_hot(exchange, architecture)
        close(exchange(*inputs), plain(exchange, weights, *inputs))


def test_computed_pairs_in_any_order():
    exchange = supernet(NATIVE)
    weights = torch.rand(len(exchange.pairs), len(exchange.block_names))
    backwards = {name: served[::-1] for name, served in exchange.served.items()}
    inputs = draw()
    close(exchange(*inputs, weights, backwards), exchange(*inputs, weights))


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
        found = exchange.extract(turned)(*inputs)
    except SpaceError:
        return
    close({task: found[task] for task in TASKS}, expected)


def test_extraction_keeps_the_type():
    torch.set_default_dtype(torch.float32)
    exchange = supernet(("none", "global")).double()
    architecture = Architecture.uniform(TASKS, "global")
    features = draw()[0]
    inputs = {task: maps.double() for task, maps in features.items()}
    close(exchange.extract(architecture)(inputs), exchange(inputs, weights=one_hot(exchange, architecture)))


class Copied(nn.Module):
    """A user's block without a single weight."""

    def __init__(self, channels: int, message_channels: int):
        super().__init__()

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return source


def test_extraction_without_weights():
    name = f"{__name__}:Copied"
    exchange = supernet((name,), "pad")
    architecture = Architecture.uniform(TASKS, name, "pad")
    features = draw()[0]
    close(exchange.extract(architecture)(features), exchange(features, weights=one_hot(exchange, architecture)))


# ---- order


def transfer(old: Exchange, new: Exchange) -> None:
    """Copies weights by the names of tasks, for the same tasks in another order."""
    with torch.no_grad():
        for name in old.served:
            for row, pair in enumerate(old.block(name).pairs):
                to = new.block(name).pairs.index(pair)
                state = old.block(name).pair_state(row)
                for key, value in new.block(name).pair_state(to).items():
                    value.copy_(state[key])
                if old.normalize_messages:
                    for key, value in new.norms[name].state_dict().items():
                        value[to] = old.norms[name].state_dict()[key][row]
        state = old.aggregator.state_dict()
        for key, value in new.aggregator.state_dict().items():
            theirs = state[key]
            target = key.split(".")[1]
            if key.startswith("fuse.") and key.endswith("0.weight"):
                groups = dict(zip(old.sources[target], theirs.chunk(len(old.sources[target]), 1)))
                theirs = torch.cat([groups[source] for source in new.sources[target]], 1)
            value.copy_(theirs)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_order_of_tasks(aggregator):
    inputs = draw()
    architecture = Architecture.random(SearchSpace(TASKS, ALL, aggregator), 3)
    exchange = naive.randomise(Exchange(architecture, CHANNELS)).eval()
    expected = exchange(*inputs)
    space = supernet(aggregator=aggregator)
    weights = torch.rand(len(space.pairs), len(space.block_names))
    mixed = space(*inputs, weights)
    for order in permutations(TASKS):
        other = Exchange(Architecture(order, architecture.exchanges, aggregator), CHANNELS).eval()
        transfer(exchange, other)
        found = other(*inputs)
        assert tuple(found) == order
        close({task: found[task] for task in TASKS}, expected)

        turned = Exchange(SearchSpace(order, ALL, aggregator), CHANNELS).eval()
        transfer(space, turned)
        rows = weights[[space.pairs.index(pair) for pair in turned.pairs]]
        found = turned(*inputs, rows)
        close({task: found[task] for task in TASKS}, mixed)


HASHED = """
import hashlib, torch
from search_spaces import SPACES, Architecture, Exchange, SearchSpace
torch.set_num_threads(1)
tasks = ("semseg", "depth", "normals", "edge", "human_parts")
digest = hashlib.sha256()
for aggregator in ("atrc", "mteb", "pad"):
    space = SearchSpace(tasks, SPACES["extended"], aggregator)
    architecture = Architecture.random(space, 0)
    digest.update(repr(architecture).encode())
    torch.manual_seed(0)
    features = {task: torch.randn(2, 6, 4, 5) for task in tasks}
    regions = {task: torch.randn(2, 3, 4, 5) for task in tasks}
    exchange = Exchange(architecture, 6, dropout=0.0)
    for maps in exchange(features, regions).values():
        digest.update(maps.detach().numpy().tobytes())
    for maps in Exchange(space, 6)(features, regions, weights=torch.rand(25, len(space.blocks))).values():
        digest.update(maps.detach().numpy().tobytes())
    digest.update(repr(exchange.region_tasks()).encode())
print(digest.hexdigest())
"""


def test_order_of_hashes():
    """Sets of strings would come out in another order under another hash seed."""
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HASHED],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    first, second = (run.communicate(timeout=120)[0] for run in runs)
    assert all(run.returncode == 0 for run in runs)
    assert len(first.strip()) == 64 and first == second


# ---- learning


@pytest.mark.parametrize("blocks", [NATIVE, SPACES["full"]], ids=["atrc", "full"])
def test_logits_learn_from_the_second_step(blocks):
    """ATRC's aggregator starts with a gain of zero: no task gradient reaches logits or messages at step 0."""
    torch.manual_seed(0)
    net = Supernet(SearchSpace(TASKS, blocks), CHANNELS, torch.Generator().manual_seed(0))
    inputs = draw()
    goal = {task: torch.randn(2, CHANNELS, *SIZE) for task in TASKS}
    optimizer = torch.optim.SGD(net.exchange.parameters(), 0.1)
    gradients = []
    for _ in range(2):
        net.zero_grad()
        refined = net(*inputs)
        loss = sum(((refined[task] - goal[task]) ** 2).mean() for task in TASKS)
        loss.backward()
        gradients.append(net.selection.logits.grad.clone())
        in_blocks = [p.grad.abs().max() for p in net.exchange.blocks.parameters()]
        assert all(g == 0 for g in in_blocks) == (len(gradients) == 1)
        optimizer.step()
    assert torch.equal(gradients[0], torch.zeros_like(gradients[0]))
    assert (gradients[1].abs().max(1).values > 0).all()  # of every pair
    assert not gradients[1][~net.selection.legal].any()


@pytest.mark.parametrize("aggregator", ["mteb", "pad"])
def test_logits_learn_at_once(aggregator):
    net = Supernet(SearchSpace(TASKS, NATIVE, aggregator), CHANNELS, torch.Generator().manual_seed(0))
    sum((maps**2).sum() for maps in net(*draw()).values()).backward()
    assert (net.selection.logits.grad.abs().max(1).values > 0).all()


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


# ---- masks


SEEN: list[Tensor] = []


class Witness(nn.Module):
    """A user's block that keeps the prototypes it could form."""

    regions = ("source",)
    legal_on_self = False

    def __init__(self, channels: int, message_channels: int):
        super().__init__()

    def forward(self, target: Tensor, source: Tensor, source_regions: Tensor) -> Tensor:
        SEEN.append(source_regions)
        return source[:, :3]


def regions_of(logits: Maps, valid: Tensor | None) -> Tensor:
    SEEN.clear()
    Exchange(Architecture.uniform(("a", "b"), f"{__name__}:Witness"), CHANNELS)(draw()[0], logits, valid)
    return SEEN[0]  # of b, for a <- b


def test_regions_are_weights_over_valid_pixels():
    _, logits, valid = draw()
    torch.testing.assert_close(regions_of(logits, valid), naive.regions(logits["b"], valid))
    torch.testing.assert_close(regions_of(logits, None), naive.regions(logits["b"]))
    torch.testing.assert_close(regions_of(logits, valid).sum(2), torch.ones(2, 3))


@pytest.mark.parametrize("junk", [100.0, float("inf"), float("nan")])
def test_ignored_pixels_change_no_prototype(junk):
    features, logits, valid = draw()
    changed = {task: torch.where(valid, maps, junk) for task, maps in logits.items()}
    assert torch.equal(regions_of(changed, valid), regions_of(logits, valid))
    for name in ("t_label", "s_label"):
        exchange = naive.randomise(Exchange(Architecture.uniform(TASKS, name), CHANNELS)).eval()
        before = exchange(features, logits, valid)
        close(exchange(features, changed, valid), before, 0)
        # features there feed no prototype either: valid pixels keep their messages
        other = {task: torch.where(valid, maps, 7.0) for task, maps in features.items()}
        after = exchange(other, logits, valid)
        for task in TASKS:
            torch.testing.assert_close(after[task] * valid, before[task] * valid)


def test_nothing_valid():
    """One image of two is all padding: its regions weigh nothing, and nothing becomes NaN."""
    features, logits, valid = draw(grad=True)
    valid[1] = False
    assert not regions_of(logits, valid)[1].any()
    assert regions_of(logits, valid)[0].any()
    logits = {task: maps.requires_grad_() for task, maps in logits.items()}
    for mask in (valid, torch.zeros_like(valid)):
        for name in ("t_label", "s_label"):
            exchange = naive.randomise(Exchange(Architecture.uniform(TASKS, name), CHANNELS))
            refined = exchange(features, logits, mask)
            assert all(maps.isfinite().all() for maps in refined.values())
            sum(maps.sum() for maps in refined.values()).backward()
            assert all(maps.grad.isfinite().all() for maps in (*features.values(), *logits.values()))


def test_regions_train_their_predictions():
    """The regions are not detached: the final loss reaches the auxiliary predictions."""
    features, logits, valid = draw()
    logits = {task: maps.requires_grad_() for task, maps in logits.items()}
    exchange = naive.randomise(Exchange(Architecture.uniform(TASKS, "s_label"), CHANNELS))
    exchange(features, logits, valid)["a"].square().sum().backward()
    assert logits["b"].grad.any() and logits["c"].grad.any()
    assert not (logits["b"].grad * ~valid).any()


def test_half_precision_regions():
    """Their softmax runs in float32, whatever the precision: weights over many pixels vanish in bfloat16."""
    torch.set_default_dtype(torch.float32)
    _, logits, valid = draw()
    logits = {task: maps.bfloat16() for task, maps in logits.items()}
    with torch.autocast("cpu", torch.bfloat16):
        found = regions_of(logits, valid)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, naive.regions(logits["b"].float(), valid))


# ---- aggregators and cost


def test_dropout_outside_search_only():
    space = SearchSpace(TASKS, NATIVE)
    architecture = Architecture.uniform(TASKS, "global")
    features = {task: torch.randn(40, CHANNELS, 2, 2) for task in TASKS}

    def dropped(exchange: Exchange) -> bool:
        """Whether two passes in training mode differ."""
        inputs = (features, {t: torch.zeros(40, 2, 2, 2) for t in TASKS}, None)
        weights = one_hot(exchange, architecture) if isinstance(exchange.plan, SearchSpace) else None
        first, second = exchange(*inputs, weights), exchange(*inputs, weights)
        return any(not torch.equal(first[task], second[task]) for task in TASKS)

    assert not dropped(Exchange(space, CHANNELS))
    assert dropped(Exchange(architecture, CHANNELS))
    assert not dropped(Exchange(architecture, CHANNELS, dropout=0.0))
    assert not dropped(Exchange(architecture, CHANNELS).eval())
    assert not dropped(Exchange(space, CHANNELS).extract(architecture).train())
    rates = [m.p for m in Exchange(architecture, CHANNELS).modules() if isinstance(m, nn.Dropout2d)]
    assert rates == [0.05]
    for aggregator in ("mteb", "pad"):
        assert not dropped(Exchange(Architecture.uniform(TASKS, "global", aggregator), CHANNELS))


def test_atrc_aggregator_starts_without_messages():
    """Gain and offset of the messages' norm are zero; the output is still not the features themselves."""
    features, _, _ = draw()
    exchange = Exchange(Architecture.uniform(TASKS, "global"), CHANNELS, dropout=0.0)
    other = {task: maps if task == "a" else maps + 1 for task, maps in features.items()}
    assert torch.equal(exchange(features)["a"], exchange(other)["a"])
    assert not torch.equal(exchange(features)["a"], features["a"])


@pytest.mark.parametrize("aggregator", ["mteb", "pad"])
def test_residual_aggregators(aggregator):
    """mteb: F_t + ReLU BN conv1x1[messages] in training mode; pad: F_t + their sum."""
    features, _, _ = draw()
    architecture = Architecture.uniform(TASKS, "padnet_linear", aggregator)
    architecture = replace(architecture, normalize_messages=False)
    exchange = naive.randomise(Exchange(architecture, CHANNELS))
    found = exchange(features)
    block, state = exchange.block("padnet_linear"), exchange.aggregator.state_dict()
    for target in TASKS:
        messages = [
            naive.conv(features[source], block.pair_state(block.pairs.index((target, source)))["project.weight"][0])
            for source in TASKS
        ]
        if aggregator == "pad":
            expected = features[target] + sum(messages)
        else:
            maps = naive.conv(torch.cat(messages, 1), state[f"fuse.{target}.0.weight"])
            expected = features[target] + naive.relu(naive.norm(maps, state, f"fuse.{target}.1.", train=True))
        torch.testing.assert_close(found[target], expected, rtol=1e-10, atol=1e-10)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def built(plan: Architecture | SearchSpace, channels: int = 67) -> Exchange:
    with torch.device("meta"):
        return Exchange(plan, channels)


def test_parameters_of_aggregators():
    c, d, tasks = 67, 33, ("a", "b", "c", "d")
    for n in (4, 3, 1, 0):  # messages that each target receives
        exchanges = {(t, s): "padnet_linear" if tasks.index(s) < n else "none" for t in tasks for s in tasks}
        counts = {
            kind: count(built(Architecture(tasks, exchanges, kind)).aggregator) / len(tasks) for kind in AGGREGATORS
        }
        if n == 0:
            assert counts == {"atrc": c**2 + 2 * c, "mteb": 0, "pad": 0}
        else:
            assert counts == {"atrc": n * d * c + 2 * c**2 + 4 * c, "mteb": n * c**2 + 2 * c, "pad": 0}
    densemtl = built(Architecture.uniform(tasks, "xtam", "mteb"), 128)
    assert count(densemtl.aggregator) / 4 == 3 * 128**2 + 2 * 128
    assert count(densemtl.blocks) / 12 == 369_920


def auxiliary_heads(channels: int = 270, regions: tuple[int, ...] = (40, 40, 40, 2)) -> int:
    """conv1x1 BN ReLU conv1x1 with bias for each of NYUD's four tasks (HRNet18 gives 270 channels)."""
    return sum(
        count(
            nn.Sequential(
                nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.Conv2d(channels, r, 1)
            )
        )
        for r in regions
    )


def published(tasks: tuple[str, ...]) -> dict[str, tuple[float, Callable[[], int]]]:
    """Millions of parameters in ATRC's Table 1 (NYUD-v2, HRNet18), and how we count them."""
    c, n = 67, len(tasks)
    omega = n * (c**2 + 2 * c)  # PAD-Net's convolution and norm behind the sum, which our aggregator leaves out
    on_self = {(t, t): "t_label" for t in tasks}
    s_label = Architecture(tasks, Architecture.uniform(tasks, "s_label").exchanges | on_self)

    def pad(name: str) -> int:  # as published, without the norm by which we compare blocks of different scale
        return count(built(Architecture.uniform(tasks, f"padnet_{name}", "pad", normalize_messages=False)))

    return {
        "global": (4.73, lambda: count(built(Architecture.uniform(tasks, "global")))),
        "local": (4.73, lambda: count(built(Architecture.uniform(tasks, "local")))),
        "t_label": (5.06, lambda: count(built(Architecture.uniform(tasks, "t_label"))) + auxiliary_heads()),
        "s_label": (5.06, lambda: count(built(s_label)) + auxiliary_heads()),
        "pad a": (4.59, lambda: pad("linear") + 2 * n * c),
        "pad b": (5.02, lambda: pad("conv") + omega),
        "pad c": (5.50, lambda: pad("gate") + omega),
    }


NYUD = ("semseg", "depth", "normals", "edge")


@pytest.mark.parametrize("row", published(NYUD))
def test_parameters_of_the_published_table(row):
    millions, counted = published(NYUD)[row]
    assert round((4_515_600 + counted()) / 1e6, 2) == millions


# ---- errors, and the module as a module


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
    """The tasks that are expected are the exchange's, not those that were found."""
    features, _, _ = draw()
    single = Exchange(Architecture.uniform(TASKS, "global"), CHANNELS)
    with pytest.raises(SpaceError) as error:
        single({"a": features["a"], "c": features["c"]})
    assert "expected one of a, c" not in str(error.value)


def test_regions_are_asked_for_only_where_read():
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
    close(other(*inputs, weights), exchange(*inputs, weights), 0)
    # a block by import path as well: its name becomes a key of the state
    own = Architecture.uniform(TASKS, f"{__name__}:Learned", "pad")
    first, second = (naive.randomise(Exchange(own, CHANNELS), seed) for seed in (0, 1))
    second.load_state_dict(first.state_dict())
    close(second(inputs[0]), first(inputs[0]), 0)


class Learned(nn.Module):
    def __init__(self, channels: int, message_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, message_channels, 1)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return self.conv(source) - target


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
