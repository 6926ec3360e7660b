"""local: every target pixel attends to the 9x9 source neighbourhood around it.

Source: ATRC (Bruggemann et al., ICCV 2021), local context. Its CUDA operator gives positions outside the image logit 0
inside the softmax, and value 0; we do the same, without any custom operator.
Cost: 3Cd + 2d^2 + 162d multiply-adds a pixel.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.blocks.base import ExchangeInputs
from search_spaces.blocks.context import ContextBlock

WINDOW = 9
TILE = 8


class LocalContext(ContextBlock):
    """m_i = sum over j in the window of softmax_j(q_i^T k_j / sqrt(d)) v_j."""

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        sources = self.sources(active)
        query = self.query.from_tasks(inputs.features, self.targets(active), active)
        key = self.key.from_tasks(inputs.features, sources, active)
        value = self.value.from_tasks(inputs.features, sources, active)
        maps = [x.flatten(0, 1) for x in (query, key, value)]
        return local_attention(maps[0], maps[1], maps[2]).unflatten(0, query.shape[:2])


@lru_cache(maxsize=16)
def _in_window(tile: int, window: int, device: torch.device) -> Tensor:
    """(tile^2, (tile + window - 1)^2): which positions of a tile's halo lie in the window of which query."""
    query = torch.arange(tile, device=device)
    key = torch.arange(tile + window - 1, device=device)
    near = (key[None] >= query[:, None]) & (key[None] < query[:, None] + window)  # (tile, halo), one axis
    both = near[:, None, :, None] & near[None, :, None, :]
    return both.reshape(tile * tile, -1)


def local_attention(query: Tensor, key: Tensor, value: Tensor, window: int = WINDOW, tile: int = TILE) -> Tensor:
    """Sliding-window attention, zero-padded and not renormalised at the border: (N, d, H, W) -> (N, d, H, W).

    Square tiles of queries meet their tile plus a halo in one dense attention: 256 logits a pixel for tiles of 8
    instead of 81, but as matrix products, and without 81 shifted copies of the keys and values.
    """
    count, width, height, breadth = query.shape
    rows, columns = -(-height // tile), -(-breadth // tile)
    below, right = rows * tile - height, columns * tile - breadth
    reach = window // 2

    def tiles(maps: Tensor, halo: int) -> Tensor:  # -> (N * tiles, 1, positions, d)
        padded = F.pad(maps, (halo, halo + right, halo, halo + below))
        patches = padded.unfold(2, tile + 2 * halo, tile).unfold(3, tile + 2 * halo, tile)
        return patches.permute(0, 2, 3, 4, 5, 1).reshape(count * rows * columns, 1, -1, width)

    mask = _in_window(tile, window, query.device)
    out = F.scaled_dot_product_attention(tiles(query, 0), tiles(key, reach), tiles(value, reach), attn_mask=mask)
    out = out.view(count, rows, columns, tile, tile, width).permute(0, 5, 1, 3, 2, 4)
    return out.reshape(count, width, rows * tile, columns * tile)[:, :, :height, :breadth]
