"""With a seed, equal parts of different exchanges start with equal weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from search_spaces import SPACES, Architecture, Exchange, SearchSpace
from search_spaces.aggregators import AGGREGATORS

TASKS = ("a", "b", "c")


class Learned(nn.Module):
    """A user's simple block."""

    def __init__(self, channels: int, message_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, message_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(message_channels)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return self.norm(self.conv(source - target))


BLOCKS = (*SPACES["extended"], f"{__name__}:Learned")


def parts(exchange: Exchange) -> dict[tuple[str, ...], Tensor]:
    """Weights and buffers by their names: (block, target, source, key), or ("aggregator", key)."""
    states = {("aggregator", key): value for key, value in exchange.aggregator.state_dict().items()}
    for name in exchange.served:
        block = exchange.block(name)
        norm = exchange.norms[name.replace(".", "/")].state_dict() if exchange.normalize_messages else {}
        for row, pair in enumerate(block.pairs):
            states |= {(name, *pair, key): value for key, value in block.pair_state(row).items()}
            states |= {(name, *pair, f"norm {key}"): value[row] for key, value in norm.items()}
    return states


def common(first: Exchange, second: Exchange) -> list[tuple[str, ...]]:
    """The names of parts that both have in the same shape; all of them must be equal bit for bit."""
    one, two = parts(first), parts(second)
    names = [name for name in one if name in two and one[name].shape == two[name].shape]
    for name in names:
        assert torch.equal(one[name], two[name]), name
    return names


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_architectures_and_their_space_share_weights(aggregator):
    space = SearchSpace(TASKS, BLOCKS, aggregator)
    supernet = Exchange(space, 6, seed=7)
    seen: set[str] = set()
    for draw in range(12):
        torch.manual_seed(draw)
        exchange = Exchange(Architecture.random(space, draw), 6, seed=7)
        shared = common(supernet, exchange)
        served = {(name, *exchange.pairs[i]) for name, on in exchange.served.items() for i in on}
        assert served == {name[:3] for name in shared if name[0] != "aggregator"}
        seen |= {name[0] for name in shared}
    assert seen >= {*BLOCKS} - {"none"}
    assert ("aggregator" in seen) == (aggregator != "pad")


@pytest.mark.parametrize("name", BLOCKS[1:])
def test_one_pair_less_and_another_order(name):
    """Neither a missing block nor the order of tasks changes the weights of the others."""
    whole = Architecture.uniform(TASKS, name, "mteb", normalize_messages=True)
    without = Architecture(TASKS[::-1], whole.exchanges | {("a", "b"): "none"}, "mteb", normalize_messages=True)
    first, second = Exchange(whole, 6, seed=1), Exchange(without, 6, seed=1)
    shared = common(first, second)
    served = {first.pairs[i] for i in first.served[name]}
    assert {part[1:3] for part in shared if part[0] != "aggregator"} == served - {("a", "b")}
    fuses = {f"fuse.{target}.0.weight" for target in ("b", "c")}  # a has a source less, so another shape
    assert {part[1] for part in shared if part[1].endswith("0.weight")} == fuses


def test_names_and_seeds_set_parts_apart():
    """Other pairs, blocks, layers and seeds have other weights."""
    architecture = Architecture.uniform(TASKS, "padnet_gate")
    first, second = Exchange(architecture, 6, seed=0), Exchange(architecture, 6, seed=1)
    weights = [exchange.get_parameter(f"blocks.padnet_gate.{layer}.weight") for exchange in (first, second)
               for layer in ("conv", "gate")]  # fmt: skip
    drawn = torch.cat([weight.flatten(1) for weight in weights])  # 2 seeds x 2 layers x 6 pairs
    assert len(drawn.unique(dim=0)) == len(drawn) == 24
    out = [first.get_parameter(f"aggregator.out.{task}.0.weight") for task in TASKS]
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_the_global_generator_is_left_alone(aggregator):
    space = SearchSpace(TASKS, BLOCKS, aggregator)
    for plan in (space, Architecture.random(space, 0)):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        Exchange(plan, 6, seed=0, dropout=0.3)
        assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_the_global_generator_decides():
    architecture = Architecture.uniform(TASKS, "global")
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(Exchange(architecture, 6, dropout=0.1 * len(weights)).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


SUM = """
from search_spaces import Architecture, Exchange
exchange = Exchange(Architecture.uniform(("a", "b"), "xtam"), 4, seed=5)
print([float(p.double().sum()) for p in exchange.parameters()])
"""


def test_another_process_draws_the_same():
    """Whatever its hash seed."""
    root = Path(__file__).parents[2]
    runs = [
        subprocess.run([sys.executable, "-c", SUM], cwd=root, env={"PYTHONHASHSEED": seed}, capture_output=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout != b""
