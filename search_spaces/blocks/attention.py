"""Softmax attention through scaled_dot_product_attention, in the form that a GPU fuses.

The fused kernels of a GPU take widths that are multiples of 8 only; for others torch multiplies out all logits, which
takes gigabytes. Channels of zeros change no product, and the scale stays that of the true width. The kernels' grids
have at most 65,535 places along the batch and as many along the heads: give many small attentions both axes.
Logits and their softmax are fp32 whatever the precision of the maps, in the fused kernels as in torch's own form.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.blocks.layers import kind_of

MULTIPLE = 8  # of channels


def fused_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + mask) v: (B, heads, L, d), (B, heads, S, d) twice -> (B, heads, L, d).

    mask: (L, S), minus infinity where a key is not seen; of the maps' dtype.
    """
    width = query.shape[3]
    if kind_of(query.device) != "cuda":
        return F.scaled_dot_product_attention(query, key, value, mask)
    query, key, value = (padded(maps) for maps in (query, key, value))
    return _kernel(query, key, value, mask, width**-0.5)[..., :width]


def padded(maps: Tensor) -> Tensor:
    """With channels of zeros behind, up to a multiple of 8: (..., d) -> (..., d + room), contiguous."""
    room = -maps.shape[-1] % MULTIPLE
    return F.pad(maps, (0, room)) if room else maps.contiguous()  # a pad of 0 would copy


def _kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    if query.device.type == "cuda":
        return in_order(F.scaled_dot_product_attention(query, key, value, mask, scale=scale))
    # no GPU is there, one is only counted for: of its kernels this one has a form without data
    if mask is not None:
        mask = mask.expand(*query.shape[:3], -1)
    out: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, mask, query.requires_grad, 0.0, False, scale=scale
    )[0]
    return out


def in_order(attended: Tensor) -> Tensor:
    """The result of a fused attention, whose backward pass adds up in one order if deterministic algorithms are asked
    for, with `warn_only` too: torch's kernels only warn then, and take the order that comes.
    """
    node = attended.grad_fn
    if node is not None and "Attention" in node.name():
        strict = _Strict()
        node.register_prehook(strict.begin)
        node.register_hook(strict.end)
    return attended


class _Strict:
    """Deterministic algorithms without `warn_only`, while one node of the backward pass is computed."""

    def __init__(self) -> None:
        self.warned = False

    def begin(self, *_: object) -> None:
        asked = torch.are_deterministic_algorithms_enabled()
        self.warned = asked and torch.is_deterministic_algorithms_warn_only_enabled()
        if self.warned:
            torch.use_deterministic_algorithms(True)

    def end(self, *_: object) -> None:
        if self.warned:
            torch.use_deterministic_algorithms(True, warn_only=True)
