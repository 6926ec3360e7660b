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
from torch.autograd.function import once_differentiable

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


def local_attention(query: Tensor, key: Tensor, value: Tensor, window: int = WINDOW) -> Tensor:
    """Sliding-window attention, zero-padded and not renormalised at the border: (N, d, H, W) -> (N, d, H, W).

    Square tiles of queries meet their tile plus a halo in one dense attention: more logits than the window holds, but
    as matrix products, and without a shifted copy of keys and values per position of the window.
    """
    if query.device.type == "cpu":
        return _ChunkedTiles.apply(query, key, value, window)  # type: ignore[no-untyped-call, no-any-return]
    return tiled_attention(query, key, value, window)


def tiled_attention(query: Tensor, key: Tensor, value: Tensor, window: int = WINDOW, tile: int = TILE) -> Tensor:
    """All tiles at once through scaled_dot_product_attention, which a GPU fuses."""
    tiles = _Tiles(query.shape, window, tile)
    halos = [tiles.halos(tiles.pad(maps, tiles.reach))[:, None] for maps in (key, value)]
    mask = _in_window(tile, window, query.device)
    out = F.scaled_dot_product_attention(tiles.cores(tiles.pad(query))[:, None], *halos, attn_mask=mask)
    return tiles.join(out[:, 0])


class _Tiles:
    """Cuts maps into square tiles with or without a halo, and back; maps are padded and laid out (n, h, w, d)."""

    def __init__(self, shape: torch.Size, window: int, tile: int):
        self.count, self.width, self.height, self.breadth = shape
        self.tile, self.reach, self.halo = tile, window // 2, tile + window - 1
        self.rows, self.columns = -(-self.height // tile), -(-self.breadth // tile)

    def pad(self, maps: Tensor, reach: int = 0) -> Tensor:
        """(N, d, H, W) -> (N, h, w, d): zeros around, and up to whole tiles."""
        below, right = self.rows * self.tile - self.height, self.columns * self.tile - self.breadth
        return F.pad(maps.permute(0, 2, 3, 1), (0, 0, reach, reach + right, reach, reach + below))

    def crop(self, maps: Tensor, reach: int = 0) -> Tensor:
        """The reverse of `pad`."""
        return maps[:, reach : reach + self.height, reach : reach + self.breadth].permute(0, 3, 1, 2)

    def cores(self, maps: Tensor) -> Tensor:
        """(n, h, w, d) -> (n * tiles, tile^2, d)"""
        return self._grid(maps).transpose(2, 3).reshape(-1, self.tile**2, maps.shape[3])

    def join(self, cores: Tensor) -> Tensor:
        """The reverse of `cores` and `pad`, for all maps."""
        grid = cores.view(-1, self.rows, self.columns, self.tile, self.tile, self.width).transpose(2, 3)
        return self.crop(grid.reshape(-1, self.rows * self.tile, self.columns * self.tile, self.width))

    def halos(self, maps: Tensor) -> Tensor:
        """(n, h, w, d) -> (n * tiles, halo^2, d)"""
        patches = maps.unfold(1, self.halo, self.tile).unfold(2, self.halo, self.tile)
        return patches.permute(0, 1, 2, 4, 5, 3).reshape(-1, self.halo**2, maps.shape[3])

    def put_cores(self, cores: Tensor, maps: Tensor) -> None:
        """Writes (n * tiles, tile^2, d) into (n, h, w, d)."""
        grid = self._grid(maps)
        grid.copy_(cores.view(len(maps), self.rows, self.columns, self.tile, self.tile, -1).transpose(2, 3))

    def add_halos(self, halos: Tensor, maps: Tensor) -> None:
        """Adds (n * tiles, halo^2, d) to (n, h, w, d), part by part, since only halos overlap."""
        halos = halos.view(len(maps), self.rows, self.columns, self.halo, self.halo, -1)
        for top in range(0, self.halo, self.tile):
            for left in range(0, self.halo, self.tile):
                part = halos[:, :, :, top : top + self.tile, left : left + self.tile]
                place = maps[:, top:, left:].unfold(1, part.shape[3], self.tile).unfold(2, part.shape[4], self.tile)
                place[:, : self.rows, : self.columns].permute(0, 1, 2, 4, 5, 3).add_(part)

    def _grid(self, maps: Tensor) -> Tensor:
        return maps.view(len(maps), self.rows, self.tile, self.columns, self.tile, -1)


class _ChunkedTiles(torch.autograd.Function):
    """The same for a CPU: a few maps at a time, whose tiles stay in the cache and are cut anew on the way back.

    Saves nothing but the padded maps.
    """

    TILE = 4
    MAPS = 2  # a chunk

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:  # type: ignore[no-untyped-def]
        tiles = _Tiles(query.shape, window, _ChunkedTiles.TILE)
        queries = tiles.pad(query * tiles.width**-0.5)
        keys, values = tiles.pad(key, tiles.reach), tiles.pad(value, tiles.reach)
        out = torch.empty_like(queries)
        for chunk in _ChunkedTiles.chunks(len(query)):
            weights = _ChunkedTiles.attend(tiles, tiles.cores(queries[chunk]), tiles.halos(keys[chunk]))
            tiles.put_cores(weights @ tiles.halos(values[chunk]), out[chunk])
        ctx.tiles = tiles
        ctx.save_for_backward(queries, keys, values)
        return tiles.crop(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        tiles = ctx.tiles
        queries, keys, values = ctx.saved_tensors
        gradient = tiles.pad(gradient)
        to_queries, to_keys, to_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
        for chunk in _ChunkedTiles.chunks(len(queries)):
            q, k, v = tiles.cores(queries[chunk]), tiles.halos(keys[chunk]), tiles.halos(values[chunk])
            g = tiles.cores(gradient[chunk])
            weights = _ChunkedTiles.attend(tiles, q, k)
            tiles.add_halos(weights.transpose(1, 2) @ g, to_values[chunk])
            to_logits = (g @ v.transpose(1, 2)).mul_(weights)
            to_logits.addcmul_(weights, to_logits.sum(2, keepdim=True), value=-1)
            tiles.put_cores(to_logits @ k, to_queries[chunk])
            tiles.add_halos(to_logits.transpose(1, 2) @ q, to_keys[chunk])
        to_query = tiles.crop(to_queries.mul_(tiles.width**-0.5))
        return to_query, tiles.crop(to_keys, tiles.reach), tiles.crop(to_values, tiles.reach), None

    @staticmethod
    def chunks(count: int) -> list[slice]:
        step = _ChunkedTiles.MAPS
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    @staticmethod
    def attend(tiles: _Tiles, queries: Tensor, keys: Tensor) -> Tensor:
        """Attention weights, (tiles, tile^2, halo^2)."""
        outside = _outside(tiles.tile, 2 * tiles.reach + 1, queries.dtype)
        return torch.baddbmm(outside, queries, keys.transpose(1, 2)).softmax(2)


@lru_cache(maxsize=16)
def _outside(tile: int, window: int, dtype: torch.dtype) -> Tensor:
    """0 in the window of each query of a tile, minus infinity outside, as `_in_window`."""
    inside = _in_window(tile, window, torch.device("cpu"))
    return torch.zeros(inside.shape, dtype=dtype).masked_fill(~inside, -torch.inf)
