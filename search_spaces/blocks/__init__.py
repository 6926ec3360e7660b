"""The exchange blocks: what a target may receive from one source.

A block lives in a file of its own, which opens with its source and its cost. To add one, write

- an `nn.Module` built as `Block(channels, message_channels)` and called as `block(target, source)` on (B, C, H, W)
  maps, which returns the message, (B, message_channels, H, W): `PairByPair` runs it over all pairs; or
- a subclass of `ExchangeBlock`, which computes the messages of all its pairs at once.

Class attributes declare what is special: `legal_on_self = False` where a task must not read itself, and
`regions = ("target",)`, `("source",)` or both for a block that reads label regions. A line in `BLOCKS` makes it known
to spaces, searches and retrained networks alike; a user's block needs none, its import path `package.module:Class` is
its name. `search_spaces.testing.check_block` checks a block, and the tests run it over `BLOCKS`.
"""

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs, Pair, PairByPair
from search_spaces.blocks.deform import DeformableSampling
from search_spaces.blocks.global_context import GlobalContext
from search_spaces.blocks.label_context import SourceLabelContext, TargetLabelContext
from search_spaces.blocks.local_context import LocalContext
from search_spaces.blocks.low_rank import LowRank
from search_spaces.blocks.none import NoExchange
from search_spaces.blocks.padnet import PadnetConv, PadnetGate, PadnetLinear
from search_spaces.blocks.query import QueryContext
from search_spaces.blocks.target_gate import TargetGate
from search_spaces.blocks.xtam import ChannelAttention, CrossTaskAttention, DoubleAttention
from search_spaces.errors import SpaceError, unknown_name

BLOCKS: dict[str, type[ExchangeBlock]] = {
    "none": NoExchange,
    "global": GlobalContext,
    "local": LocalContext,
    "t_label": TargetLabelContext,
    "s_label": SourceLabelContext,
    "xtam": CrossTaskAttention,
    "padnet_gate": PadnetGate,
    "padnet_conv": PadnetConv,
    "padnet_linear": PadnetLinear,
    "xtam_channel": ChannelAttention,
    "xtam_both": DoubleAttention,
    "query": QueryContext,
    "deform": DeformableSampling,
    "target_gate": TargetGate,
    "low_rank": LowRank,
}

# ATRC's blocks: their messages share one scale (averages of normalised, rectified values)
NATIVE = ("none", "global", "local", "t_label", "s_label")


def block_class(name: str) -> type[nn.Module]:
    """The class behind a built-in name or an import path `package.module:Class`.

    Raises SpaceError if there is none.
    """
    if name in BLOCKS:
        return BLOCKS[name]
    if ":" not in name:
        raise unknown_name("block", name, BLOCKS)
    module_name, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise SpaceError(f"block '{name}' cannot be imported ({reason}): expected package.module:Class") from error
    block = getattr(module, attribute, None)
    if block is None:
        names = [key for key in vars(module) if not key.startswith("_")]
        raise unknown_name(f"block in {module_name}", attribute, names)
    if not (isinstance(block, type) and issubclass(block, nn.Module)):
        raise SpaceError(f"block '{name}' is {block!r}: expected a subclass of torch.nn.Module")
    if block.forward in (nn.Module.forward, ExchangeBlock.forward):
        raise SpaceError(f"block '{name}' lacks forward: expected forward(target, source), which returns the message")
    return block


def check_call(name: str, pair: Pair, channels: int, message_channels: int) -> None:
    """Raises SpaceError unless a user's block can be built for a pair and computes a message of the right shape.

    Random numbers are left as they were.
    """
    if name in BLOCKS:
        return
    batch, height, width = 2, 8, 8
    features = {task: torch.zeros(batch, channels, height, width) for task in pair}
    regions = {task: torch.full((batch, 3, height * width), 1 / (height * width)) for task in pair}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            block = build_block(name, [pair], channels, message_channels).eval()
            found = tuple(block(ExchangeInputs(features, regions), [0]).shape)
    except Exception as error:  # a user's class may fail in any way
        raise SpaceError(
            f"block '{name}' cannot be used ({type(error).__name__}: {' '.join(str(error).split())}): expected "
            "Block(channels, message_channels), called as block(target, source)"
        ) from error
    expected = (batch, 1, message_channels, height, width)
    if found != expected:
        raise SpaceError(f"block '{name}' gives messages of shape {found[2:]}: expected {expected[2:]}")


def legal_on(name: str, pair: Pair) -> bool:
    """Whether a block may serve a pair; with `legal_on_self = False` it may not serve a task's pair with itself."""
    return pair[0] != pair[1] or getattr(block_class(name), "legal_on_self", True)


def scales_differ(names: Iterable[str]) -> bool:
    """Whether some block lies outside ATRC's, so that messages need a norm to share one scale."""
    return any(name not in NATIVE for name in names)


def regions_needed(name: str, pair: Pair) -> tuple[str, ...]:
    """The tasks whose label regions a block reads on a pair."""
    ends = getattr(block_class(name), "regions", ())
    return tuple(dict.fromkeys(pair[("target", "source").index(end)] for end in ends))


def build_block(
    name: str, pairs: list[Pair], channels: int, message_channels: int, affine: bool = True
) -> ExchangeBlock:
    """One module for all pairs of a block, built-in or a user's. `affine` as in `ExchangeBlock`."""
    kind = block_class(name)
    if issubclass(kind, ExchangeBlock):
        return kind(pairs, channels, message_channels, affine)
    return PairByPair(pairs, channels, message_channels, affine, simple=kind)


__all__ = [
    "BLOCKS",
    "NATIVE",
    "ExchangeBlock",
    "ExchangeInputs",
    "Pair",
    "block_class",
    "build_block",
    "check_call",
    "legal_on",
    "regions_needed",
    "scales_differ",
]
