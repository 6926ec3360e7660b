"""Bilinear resizing of maps, deterministic on every device.

Under `torch.use_deterministic_algorithms` a bilinear `F.interpolate` on CUDA takes a slow form, which moves many times
as much memory. There the maps are multiplied by two small matrices instead, one for rows and one for columns, whose
backward pass is a product too. On a CPU `F.interpolate` is deterministic and faster.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_counted_for: ContextVar[str | None] = ContextVar("counted_for", default=None)


@contextmanager
def counting_for(kind: str) -> Iterator[None]:
    """While open, maps are resized as on another type of device, for what is counted without one."""
    token = _counted_for.set(kind)
    try:
        yield
    finally:
        _counted_for.reset(token)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinear, as `F.interpolate` without aligned corners; size: (H, W)."""
    height, width = size
    if tuple(maps.shape[2:]) == (height, width):
        return maps
    if (_counted_for.get() or maps.device.type) == "cuda":
        return by_products(maps, (height, width))
    return F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)


def by_products(maps: Tensor, size: Sequence[int]) -> Tensor:
    """`resize` by matrix products, in the maps' own precision; the smaller intermediate comes first."""
    (h, w), (height, width) = maps.shape[2:], size
    with torch.autocast("cpu" if maps.is_meta else maps.device.type, enabled=False):
        rows = interpolation(h, height, maps.dtype, maps.device)
        columns = interpolation(w, width, maps.dtype, maps.device)
        if height * w <= h * width:
            return (rows @ maps) @ columns.mT
        return rows @ (maps @ columns.mT)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # cached tensors must serve autograd later, wherever they were first needed
def interpolation(length: int, new_length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The weights by which `length` values in a row become `new_length`, (new_length, length)."""
    step = length / new_length
    index = torch.arange(new_length, device=device)
    position = ((index.double() + 0.5) * step - 0.5).clamp(0, length - 1)
    first = position.floor().long()
    second = (first + 1).clamp_max(length - 1)
    share = position - first
    weights = torch.zeros(new_length, length, dtype=torch.double, device=device)
    weights[index, first] += 1 - share
    weights[index, second] += share
    return weights.to(dtype)
