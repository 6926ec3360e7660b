"""Every block and aggregator keeps the contract, users' blocks too; what breaks it is refused by its property."""

import random
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from search_spaces import BLOCKS, SpaceError
from search_spaces.aggregators import AGGREGATORS, Aggregator, PadAggregator, conv_norm
from search_spaces.blocks.base import ExchangeBlock
from search_spaces.blocks.padnet import PadnetLinear
from search_spaces.testing import check_aggregator, check_block
from tests.support.own_blocks import Copied, Gated, Halved, Mistaken, Product, Regional, TooNarrow

WIDTHS = [(6, 3), (4, 4), (5, 2)]  # channels of the features and of the messages


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name, widths):
    check_block(name, channels=widths[0], message_channels=widths[1])


@pytest.mark.parametrize("block", [Product, Regional, Gated])
def test_own_blocks(block):
    check_block(block)
    check_block(f"{block.__module__}:{block.__name__}", channels=5, message_channels=4)


def test_other_precision_and_no_weights():
    check_block("padnet_linear", dtype=torch.float32)
    check_block(BLOCKS["padnet_linear"])
    check_block(Copied, message_channels=6)  # without a single weight


class Dropping(Product):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(target, source), 0.5, self.training)


def test_random_training():
    """A block with dropout passes where its training mode is declared random, and only there."""
    check_block(Dropping, random_training=True)
    with pytest.raises(AssertionError, match="training mode"):
        check_block(Dropping)


def test_unknown_names():
    for check, name, nearest in ((check_block, "locl", "local"), (check_aggregator, "mtep", "mteb")):
        with pytest.raises(SpaceError, match=f"'{name}'.*nearest: '{nearest}'"):
            check(name)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregators(name):
    check_aggregator(name)
    check_aggregator(AGGREGATORS[name], channels=4, dtype=torch.float32)


# ---- broken ones


class Infinite(Product):
    """Divides by the number of rows beyond the first."""

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return super().forward(target, source) / (source.shape[2] - 1)


class Unreached(Product):
    def __init__(self, channels: int, message_channels: int):
        super().__init__(channels, message_channels)
        self.spare = nn.Parameter(torch.ones(()))


class Noisy(Product):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return super().forward(target, source) + torch.rand(())


class Forgetful(Product):
    """A weight that no state dict holds, drawn with another library's generator."""

    def __init__(self, channels: int, message_channels: int):
        super().__init__(channels, message_channels)
        self.scale = random.random()

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return super().forward(target, source) * self.scale


class OtherGenerator(Product):
    def __init__(self, channels: int, message_channels: int):
        super().__init__(channels, message_channels)
        nn.init.constant_(self.project.weight, random.random())


class ThreeEnds(Product):
    regions = ("target", "other")


class Mixing(PadnetLinear):
    """Adds the mean over the active pairs."""

    def forward(self, inputs, active):
        messages = super().forward(inputs, active)
        return messages + messages.mean(1, keepdim=True)


class Unordered(PadnetLinear):
    """Its messages are in the order of the pairs, not in that of `active`."""

    def forward(self, inputs, active):
        return super().forward(inputs, sorted(active))


@lru_cache
def ramp(size: int) -> Tensor:
    return torch.arange(size, dtype=torch.float64) + 1


class Cached(Product):
    """Its cache is filled in inference mode."""

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return super().forward(target, source) * ramp(source.shape[3])


class NoProbe(ExchangeBlock):
    """Reads the target, and denies it."""

    def __init__(self, pairs, channels, message_channels, affine=True):
        super().__init__(pairs, channels, message_channels, affine)
        self.scale = nn.Parameter(torch.ones(len(self.pairs)))

    def forward(self, inputs, active):
        maps = [inputs.features[t] * inputs.features[s] for t, s in (self.pairs[i] for i in active)]
        return torch.stack(maps, 1)[:, :, : self.message_channels] * self.scale[list(active)].view(-1, 1, 1, 1)

    def as_probe(self, projection):
        return True


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (TooNarrow, "shape"),
        (Halved, "shape"),
        (Infinite, "not finite"),
        (Unreached, "spare gets no gradient"),
        (Noisy, "two passes in eval mode differ"),
        (Forgetful, "loaded from a state dict differs"),
        (OtherGenerator, "different weights"),
        (ThreeEnds, "regions are"),
        (Mixing, "the pair's alone"),
        (Unordered, "active pairs"),
        (Cached, "inference mode"),
        (NoProbe, "depend on the target"),
        (Mistaken, "attention_maps of 2 pixels"),
    ],
)
def test_broken_blocks(block, expected):
    with pytest.raises(AssertionError, match=expected) as error:
        check_block(block)
    assert block.__name__ in str(error.value)


def test_a_block_must_be_importable():
    class Hidden(Product):
        pass

    with pytest.raises(AssertionError, match="not importable"):
        check_block(Hidden)


class Unseeded(Aggregator):
    """Draws from the global generator."""

    def __init__(self, sources, channels, dropout=0.0, seed=None):
        super().__init__(sources, channels, dropout, seed)
        self.out = nn.ModuleDict({target: conv_norm(channels, channels, relu=True) for target in sources})


class Ordered(PadAggregator):
    """Weighs its sources by their position."""

    def forward(self, features, messages):
        return {
            target: features[target] + sum(maps * (i + 1) for i, maps in enumerate(messages[target]))
            for target in self.sources
        }


class Narrowing(PadAggregator):
    def forward(self, features, messages):
        return {target: maps[:, 1:] for target, maps in super().forward(features, messages).items()}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Unseeded, "global generator"), (Ordered, "fewer sources"), (Narrowing, "shape")],
)
def test_broken_aggregators(kind, expected):
    with pytest.raises(AssertionError, match=expected):
        check_aggregator(kind)
