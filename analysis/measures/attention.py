"""Where a trained exchange looks: the weights that the block of one pair computes for an image."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiment.errors import InputError
from multitask.data.samples import Batch
from search_spaces import Exchange, ScaledExchange
from search_spaces.blocks import ExchangeBlock, ExchangeInputs
from search_spaces.scales import place
from supernet.records.pairs import Pair

POINTS = ((0.5, 0.3), (0.5, 0.7))  # of the image's height and width


@dataclass(frozen=True)
class Look:
    """What one pair's block reads.

    source: the task whose features are read. maps: (n, h, w), the weights of the source's places for the target's
    pixels at `points`, which are shares of height and width; or without points, (1, h, w), how far the gates are open
    on average over channels.
    """

    pair: Pair
    block: str
    source: str
    maps: Tensor
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class _Candidate:
    pair: Pair
    name: str
    block: ExchangeBlock
    row: int


@torch.no_grad()
def look(network: nn.Module, batch: Batch, effects: Mapping[Pair, float]) -> Look | None:
    """Of the pair with the largest effect among those whose block attends, or else among those whose block has gates.

    batch: one image. None where no block can show either. Raises InputError for a block that cannot show what it says.
    """
    candidates = sorted(_candidates(network), key=lambda one: -effects.get(one.pair, -torch.inf))
    if not candidates:
        return None
    inputs: dict[ExchangeBlock, ExchangeInputs] = {}

    def keep(block: nn.Module, given: tuple[Any, ...]) -> None:
        assert isinstance(block, ExchangeBlock)
        inputs[block] = given[0]

    handles = [block.register_forward_pre_hook(keep) for block in {one.block for one in candidates}]
    try:
        network(batch.image, batch.valid)
    finally:
        for handle in handles:
            handle.remove()
    for show in (_attention, _gates):
        for one in candidates:
            try:
                found = show(one, inputs[one.block])
            except Exception as error:  # a user's block may fail in any way
                raise InputError(f"block '{one.name}' cannot show what it reads: {error}") from error
            if found is not None:
                return found
    return None


def _candidates(network: nn.Module) -> Iterator[_Candidate]:
    exchange = getattr(network, "exchange", None)
    parts: list[tuple[int | None, Exchange]] = [(None, exchange)] if isinstance(exchange, Exchange) else []
    parts += exchange.by_scale.items() if isinstance(exchange, ScaledExchange) else []
    for scale, part in parts:
        for name, served in part.served.items():
            for row, index in enumerate(served):
                target, source = part.pairs[index]
                yield _Candidate((place(target, scale), place(source, scale)), name, part.block(name), row)


def _attention(one: _Candidate, inputs: ExchangeInputs) -> Look | None:
    target, source = one.block.pairs[one.row]
    height, width = inputs.features[target].shape[2:]
    pixels = [(int(y * height), int(x * width)) for y, x in POINTS]
    maps = one.block.attention_maps(inputs, one.row, torch.tensor([y * width + x for y, x in pixels]))
    if maps is None:
        return None
    if maps.ndim != 4 or maps.shape[:2] != (1, len(pixels)):
        raise ValueError(f"attention_maps gave {tuple(maps.shape)}: expected (1, {len(pixels)}, h, w)")
    points = tuple(((y + 0.5) / height, (x + 0.5) / width) for y, x in pixels)
    return Look(one.pair, one.name, source, maps[0].float(), points)


def _gates(one: _Candidate, inputs: ExchangeInputs) -> Look | None:
    maps = one.block.gate_maps(inputs, one.row)
    if maps is None:
        return None
    if maps.ndim != 4 or len(maps) != 1:
        raise ValueError(f"gate_maps gave {tuple(maps.shape)}: expected (1, c, h, w)")
    return Look(one.pair, one.name, one.block.pairs[one.row][1], maps[0].float().mean(0, keepdim=True))
