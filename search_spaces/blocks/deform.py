"""deform: every target pixel reads the source at nine positions that the target's features move.

Source: the deformable mixer of DeMT (Xu et al., AAAI 2023), reduced to one pair, after Deformable Convolutional
Networks (Dai et al., ICCV 2017). The only block that follows geometry that is not aligned.
Cost: 27C + Cd + 45d multiply-adds a pixel.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs, Pair
from search_spaces.blocks.layers import PairConv, PairConvNorm, kind_of

TAPS = 9


class DeformableSampling(ExchangeBlock):
    """m_i = sum_k a_k v(p_i + o_k), v = ReLU BN conv1x1 F_s, bilinear between pixels and zero outside.

    The offsets o (in pixels) and the softmax weights a come from one 1x1 convolution of F_t, which starts with zero
    weights and the offsets of a 3x3 window: the mean over 3x3 pixels. Parameters: 27C + 27 + Cd + 2d a pair (2d fewer
    without affine).
    """

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__(pairs, channels, message_channels, affine)
        count = len(self.pairs)
        self.place = PairConv(count, channels, 3 * TAPS, bias=True)
        self.value = PairConvNorm(count, channels, message_channels, affine=affine)
        assert self.place.bias is not None
        window = torch.tensor([(y, x) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])
        with torch.no_grad():
            self.place.weight.zero_()
            self.place.bias.zero_()
            self.place.bias[:, : 2 * TAPS] = window.flatten()

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        offsets, weights = self._places(inputs, active)
        value = self.value.from_tasks(inputs.features, self.sources(active), active)
        maps = value.flatten(0, 1)
        sampled = sample(maps, offsets)  # (N, d, taps, H, W)
        mixed = sampled.permute(0, 3, 4, 1, 2) @ weights.to(maps.dtype).permute(0, 2, 3, 1)[..., None]
        return mixed[..., 0].permute(0, 3, 1, 2).unflatten(0, value.shape[:2])

    def _places(self, inputs: ExchangeInputs, active: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Offsets, (N, taps, 2, H, W), rows first, and their weights, (N, taps, H, W)."""
        place = self.place.from_tasks(inputs.features, self.targets(active), active)
        place = place if place.dtype == torch.float64 else place.float()
        offsets = place[:, :, : 2 * TAPS].flatten(0, 1).unflatten(1, (TAPS, 2))
        return offsets, place[:, :, 2 * TAPS :].flatten(0, 1).softmax(1)

    def attention_maps(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor:
        height, width = inputs.features[self.pairs[row][1]].shape[2:]
        offsets, weights = (maps.flatten(-2)[..., pixels] for maps in self._places(inputs, [row]))
        # a sample between pixels takes from each of its four neighbours what its distance leaves of 1
        near = [
            (1 - (start + moved[..., None] - torch.arange(length, device=pixels.device)).abs()).clamp_min(0)
            for start, moved, length in (
                ((pixels // width)[:, None], offsets[:, :, 0], height),
                ((pixels % width)[:, None], offsets[:, :, 1], width),
            )
        ]  # (B, taps, n, H) and (B, taps, n, W)
        return torch.einsum("btn,btnh,btnw->bnhw", weights, *near)

    def as_probe(self, projection: Tensor) -> bool:
        nn.init.zeros_(self.place.weight)
        self.value.give_projection(projection)
        return True


def sample(maps: Tensor, offsets: Tensor) -> Tensor:
    """(N, d, H, W) at each pixel moved by each offset (N, taps, 2, H, W), rows first -> (N, d, taps, H, W)."""
    height, width = maps.shape[2:]
    rows = torch.arange(height, device=maps.device, dtype=offsets.dtype).view(1, 1, -1, 1) + offsets[:, :, 0]
    columns = torch.arange(width, device=maps.device, dtype=offsets.dtype).view(1, 1, 1, -1) + offsets[:, :, 1]
    if kind_of(maps.device) == "cuda":  # where grid_sample's backward pass is not deterministic
        return sample_by_gathering(maps, rows, columns)
    # from pixels to the middle of the image at 0 and its borders, half a pixel beyond the last one, at 1
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    given = maps if maps.dtype == grid.dtype else maps.to(grid.dtype)
    sampled = F.grid_sample(given, grid.flatten(2, 3), padding_mode="zeros", align_corners=False)
    return sampled.unflatten(3, (height, width)).to(maps.dtype)


def sample_by_gathering(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`sample` corner by corner; rows, columns: (N, taps, H, W).

    Pixels are the rows of a table: on CUDA the deterministic backward pass of index_select sorts one number a row, that
    of gather makes and sorts several for each element.
    """
    height, width = maps.shape[2:]
    pixels = maps.flatten(2).transpose(1, 2).flatten(0, 1)  # (N H W, d)
    first = height * width * torch.arange(len(maps), device=maps.device).view(-1, 1, 1, 1)
    total = maps.new_zeros(rows.numel(), maps.shape[1])
    top, left = rows.detach().floor(), columns.detach().floor()
    for y in (top, top + 1):
        for x in (left, left + 1):
            share = (1 - (rows - y).abs()) * (1 - (columns - x).abs())
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            index = first + (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
            corner = pixels.index_select(0, index.flatten())
            total = total + corner * torch.where(inside, share, 0).to(maps.dtype).flatten()[:, None]
    return total.unflatten(0, rows.shape).permute(0, 4, 1, 2, 3)


if torch.ops.aten.grid_sampler_2d not in flop_registry:

    @register_flop_formula(torch.ops.aten.grid_sampler_2d)  # type: ignore[untyped-decorator]
    def _flops(maps: Any, grid: Any, *_: object, out_shape: torch.Size, **__: object) -> int:
        """Four corners of each sample; two for a multiply-add."""
        return 2 * 4 * out_shape.numel()
