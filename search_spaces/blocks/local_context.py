"""local: every target pixel attends to the 9x9 source neighbourhood around it.

Source: ATRC (Bruggemann et al., ICCV 2021), local context. Its CUDA operator gives positions outside the image logit 0
inside the softmax, and value 0; this block does the same without a custom operator.
Cost: 3Cd + 2d^2 + 162d multiply-adds a pixel.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

from search_spaces.blocks.attention import fused_attention
from search_spaces.blocks.base import ExchangeInputs
from search_spaces.blocks.context import ContextBlock
from search_spaces.blocks.layers import kind_of

WINDOW = 9
TILE = 8
MAPS = 2  # maps in a chunk on a CPU
SMALL = 200  # pixels: up to here one attention over the whole map is two to five times faster than tiles on a CPU


class LocalContext(ContextBlock):
    """m_i = sum over j in the window of softmax_j(q_i^T k_j / sqrt(d)) v_j."""

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        sources = self.sources(active)
        query = self.query.from_tasks(inputs.features, self.targets(active), active)
        key = self.key.from_tasks(inputs.features, sources, active)
        value = self.value.from_tasks(inputs.features, sources, active)
        maps = [x.flatten(0, 1) for x in (query, key, value)]
        return local_attention(maps[0], maps[1], maps[2]).unflatten(0, query.shape[:2])

    def attention_maps(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor:
        height, width = inputs.features[self.pairs[row][1]].shape[2:]
        logits = self.logits(inputs, row, pixels) * self.message_channels**-0.5
        seen = F.pad(logits, (0, 1)) + _windows(pixels, height, width, WINDOW).to(logits)
        return seen.softmax(2)[..., :-1].unflatten(2, (height, width))


def local_attention(query: Tensor, key: Tensor, value: Tensor, window: int = WINDOW) -> Tensor:
    """Sliding-window attention, zero-padded and not renormalised at the border: (N, d, H, W) -> (N, d, H, W).

    The queries of a square tile attend to the keys of the tile and a halo around it, and those outside each query's
    window are masked. That is more logits than the windows hold, but it is matrix products, without a shifted copy of
    keys and values for each position in the window.

    On every device, logits and their softmax are fp32 or more, and the result has the precision of the maps.
    """
    if query.device.type == "meta" and not torch.is_grad_enabled():
        return counted_attention(query, key, value, window)
    if torch.compiler.is_exporting():  # the one form that is the same for every size
        return tiled_attention(query, key, value, window)
    kind = kind_of(query.device)
    # autocast would round the logits of a CPU to half precision; the kernels of a GPU keep theirs in fp32 themselves
    with torch.autocast("cpu" if query.is_meta else query.device.type, enabled=False):
        if kind == "cuda":
            return tiled_attention(query, key, value, window)
        half = query.dtype in (torch.float16, torch.bfloat16)
        q, k, v = (maps.float() if half else maps for maps in (query, key, value))
        if query.shape[2] * query.shape[3] <= SMALL:
            return whole_attention(q, k, v, window).to(query.dtype)
        return _ChunkedTiles.apply(q, k, v, window).to(query.dtype)  # type: ignore[no-untyped-call, no-any-return]


@torch.library.custom_op("crosstalk::local_attention", mutates_args=())
def counted_attention(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """`local_attention` as one operation without an implementation. Networks are counted on the meta device, where it
    costs window^2 keys a pixel, whatever the tiles of the real one compute beside.
    """
    raise NotImplementedError("only counted, on the meta device")


@counted_attention.register_fake
def _like(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    return torch.empty_like(query)


@register_flop_formula(torch.ops.crosstalk.local_attention)  # type: ignore[untyped-decorator]
def _flops(query: torch.Size, key: torch.Size, value: torch.Size, window: int, **_: object) -> int:
    """Of the logits and of the weighted sum; two for a multiply-add."""
    return 2 * 2 * window**2 * query.numel()


def tiled_attention(query: Tensor, key: Tensor, value: Tensor, window: int = WINDOW) -> Tensor:
    """All tiles at once in the form that a GPU fuses; maps are the batch, their tiles the heads."""
    tiles = _Tiles(query.shape, window)
    cut = (tiles.cores(query), tiles.halos(key), tiles.halos(value))
    q, k, v = (each.transpose(1, 2).unflatten(0, (query.shape[0], -1)) for each in cut)
    # what is made in a trace is no tensor to keep
    outside = _outside.__wrapped__ if torch.compiler.is_exporting() else _outside
    out = fused_attention(q, k, v, outside(window, query.dtype, query.device))
    return tiles.join(out.flatten(0, 1).transpose(1, 2))


def whole_attention(query: Tensor, key: Tensor, value: Tensor, window: int = WINDOW) -> Tensor:
    """The whole map in one masked attention.

    Positions outside the image have logit 0 and value 0: n of them in a window are one key with logit log n.
    """
    q, k, v = (maps.flatten(2).transpose(1, 2) for maps in (query, key, value))
    k, v = (F.pad(rows, (0, 0, 0, 1)) for rows in (k, v))
    mask = _whole_window(query.shape[2], query.shape[3], window).to(query)
    out = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], attn_mask=mask)
    return out[:, 0].transpose(1, 2).unflatten(2, query.shape[2:])


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached tensors must serve autograd later, wherever they were first needed
def _whole_window(height: int, width: int, window: int) -> Tensor:
    """`_windows` of all pixels."""
    return _windows(torch.arange(height * width), height, width, window)


def _windows(pixels: Tensor, height: int, width: int, window: int) -> Tensor:
    """Mask (n, L + 1) of n queries: 0 for the keys in each one's window, minus infinity for others; last, the log of
    the number of positions in the window that lie outside the image.
    """
    rows, columns = torch.arange(height), torch.arange(width)
    beside = (pixels.cpu()[:, None] // width - rows).abs() <= window // 2
    along = (pixels.cpu()[:, None] % width - columns).abs() <= window // 2
    near = (beside[:, :, None] & along[:, None]).flatten(1)
    outside = window**2 - near.sum(1, keepdim=True, dtype=torch.float64)
    return torch.cat([torch.zeros(near.shape, dtype=torch.float64).masked_fill(~near, -torch.inf), outside.log()], 1)


class _Tiles:
    """Cuts maps (n, d, H, W) into square tiles with or without a halo, and back."""

    def __init__(self, shape: torch.Size, window: int):
        self.width, self.height, self.breadth = shape[1:]
        self.reach, self.halo = window // 2, TILE + window - 1
        self.rows, self.columns = -(-self.height // TILE), -(-self.breadth // TILE)

    def cores(self, maps: Tensor) -> Tensor:
        """(n, d, H, W) -> (n * tiles, d, TILE^2)"""
        grid = self._pad(maps).reshape(-1, self.width, self.rows, TILE, self.columns, TILE)
        return grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.width, TILE**2)

    def join(self, cores: Tensor) -> Tensor:
        """The reverse of `cores`."""
        grid = cores.reshape(-1, self.rows, self.columns, self.width, TILE, TILE).permute(0, 3, 1, 4, 2, 5)
        whole = grid.reshape(-1, self.width, self.rows * TILE, self.columns * TILE)
        return whole[:, :, : self.height, : self.breadth]

    def halos(self, maps: Tensor) -> Tensor:
        """(n, d, H, W) -> (n * tiles, d, halo^2)"""
        patches = self._pad(maps, self.reach).unfold(2, self.halo, TILE).unfold(3, self.halo, TILE)
        return patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, self.width, self.halo**2)

    def add_up(self, halos: Tensor) -> Tensor:
        """The adjoint of `halos`: (n * tiles, d, halo^2) -> (n, d, H, W), added up where halos overlap."""
        halos = halos.view(-1, self.rows, self.columns, self.width, self.halo, self.halo)
        edge = self.halo - TILE
        whole = halos.new_zeros(len(halos), self.width, self.rows * TILE + edge, self.columns * TILE + edge)
        for top in range(0, self.halo, TILE):  # parts no larger than a tile do not overlap
            for left in range(0, self.halo, TILE):
                part = halos[..., top : top + TILE, left : left + TILE]
                place = whole[:, :, top:, left:].unfold(2, part.shape[4], TILE).unfold(3, part.shape[5], TILE)
                place[:, :, : self.rows, : self.columns].permute(0, 2, 3, 1, 4, 5).add_(part)
        return whole[:, :, self.reach : self.reach + self.height, self.reach : self.reach + self.breadth]

    def _pad(self, maps: Tensor, reach: int = 0) -> Tensor:
        """Zeros around, and up to whole tiles."""
        below, right = self.rows * TILE - self.height, self.columns * TILE - self.breadth
        return F.pad(maps, (reach, reach + right, reach, reach + below))


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached tensors must serve autograd later, wherever they were first needed
def _in_window(window: int, device: torch.device) -> Tensor:
    """(TILE^2, halo^2) bool: whether a position of a tile's halo lies in a query's window."""
    query = torch.arange(TILE, device=device)
    key = torch.arange(TILE + window - 1, device=device)
    near = (key[None] >= query[:, None]) & (key[None] < query[:, None] + window)  # (tile, halo), one axis
    both = near[:, None, :, None] & near[None, :, None, :]
    return both.reshape(TILE**2, -1)


class _ChunkedTiles(torch.autograd.Function):
    """The same for a CPU: a few maps at a time, so that their tiles stay in the cache.

    Only the maps are kept for the backward pass, which cuts the tiles again.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.tiles, ctx.outside = tiles, outside = (
            _Tiles(query.shape, window),
            _outside(window, query.dtype, query.device),
        )
        ctx.save_for_backward(query, key, value)
        out = torch.empty_like(query)
        for chunk in _chunks(len(query)):
            weights = _attend(tiles.cores(query[chunk]), tiles.halos(key[chunk]), outside)
            out[chunk] = tiles.join(tiles.halos(value[chunk]) @ weights.transpose(1, 2))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        tiles = ctx.tiles
        query, key, value = ctx.saved_tensors
        to_query, to_key, to_value = (torch.empty_like(maps) for maps in (query, key, value))
        for chunk in _chunks(len(query)):
            q, k, v = tiles.cores(query[chunk]), tiles.halos(key[chunk]), tiles.halos(value[chunk])
            g = tiles.cores(gradient[chunk])
            weights = _attend(q, k, ctx.outside)
            to_value[chunk] = tiles.add_up(g @ weights)
            to_logits = (g.transpose(1, 2) @ v).mul_(weights)
            to_logits.addcmul_(weights, to_logits.sum(2, keepdim=True), value=-1).mul_(tiles.width**-0.5)
            to_query[chunk] = tiles.join(k @ to_logits.transpose(1, 2))
            to_key[chunk] = tiles.add_up(q @ to_logits)
        return to_query, to_key, to_value, None


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + MAPS) for start in range(0, count, MAPS)]


def _attend(query: Tensor, key: Tensor, outside: Tensor) -> Tensor:
    """Attention weights, (tiles, TILE^2, halo^2)."""
    return torch.baddbmm(outside, query.transpose(1, 2), key, alpha=query.shape[1] ** -0.5).softmax(2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached tensors must serve autograd later, wherever they were first needed
def _outside(window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """0 in the window of each query of a tile, minus infinity outside."""
    inside = (_in_window.__wrapped__ if torch.compiler.is_exporting() else _in_window)(window, device)
    return torch.zeros(inside.shape, dtype=dtype, device=device).masked_fill(~inside, -torch.inf)
