"""query: every target pixel attends to prototypes that learned queries gather from the source.

Source: the learned queries of MQTransformer (Xu et al., 2022) and TaskPrompter (Ye and Xu, ICLR 2023), reduced to a
label context whose regions need no auxiliary prediction and no labels.
Cost: 2Cd + d^2 + n(C + 3d) multiply-adds a pixel, plus n(2Cd + d^2) an image, with n = 16 queries.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs, Pair
from search_spaces.blocks.context import TwoStepProjection
from search_spaces.blocks.label_context import region_attention, spread
from search_spaces.blocks.layers import PairConv, pick

QUERIES = 16


class TokenProjection(nn.Module):
    """relu(layer_norm(W x)) of each token: one image's prototypes are too few for batch statistics."""

    def __init__(self, pairs: int, channels: int, width: int, affine: bool = True):
        super().__init__()
        self.conv = PairConv(pairs, channels, width, xavier=True)
        self.weight = nn.Parameter(torch.ones(pairs, width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(pairs, width)) if affine else None
        self.relu = True

    def forward(self, tokens: Tensor, active: Sequence[int]) -> Tensor:
        """(B, k, C, n) -> (B, k, d, n)."""
        maps = self.conv(tokens, active)
        maps = F.layer_norm(maps.transpose(2, 3), maps.shape[2:3]).transpose(2, 3)
        if self.weight is not None and self.bias is not None:
            maps = maps * pick(self.weight, active)[..., None] + pick(self.bias, active)[..., None]
        return F.relu(maps) if self.relu else maps


class QueryContext(ExchangeBlock):
    """m_i = softmax_r(q_i^T k_r / sqrt(d)) v_r over n prototypes F_s A^T, A = softmax over pixels of Z W F_s / sqrt(d).

    Z: (n, d), learned queries. q as in label contexts; k, v are projections of the prototypes with layer norms.
    Parameters: 4Cd + 2d^2 + 10d + n d a pair (2d fewer without affine).
    """

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__(pairs, channels, message_channels, affine)
        count, width = len(self.pairs), message_channels
        self.queries = nn.Parameter(torch.randn(count, QUERIES, width))
        self.gather = PairConv(count, channels, width, xavier=True)
        self.query = TwoStepProjection(count, channels, width)
        self.key = nn.ModuleList([TokenProjection(count, channels, width), TokenProjection(count, width, width)])
        self.value = TokenProjection(count, channels, width, affine)

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        query = self.query.from_tasks(inputs.features, self.targets(active), active)
        prototypes, _ = self._prototypes(inputs, active)
        return region_attention(query, self._keys(prototypes, active), self.value(prototypes, active))

    def _prototypes(self, inputs: ExchangeInputs, active: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(B, k, C, n), and the weights of the pixels in each, (B, k, n, L)."""
        sources = self.sources(active)
        seen = self.gather.from_tasks(inputs.features, sources, active).flatten(3)  # (B, k, d, L)
        logits = pick(self.queries, active) @ seen / seen.shape[2] ** 0.5
        logits = logits if logits.dtype == torch.float64 else logits.float()
        pixels = torch.stack([inputs.features[source].flatten(2) for source in sources], 1)
        weights = logits.softmax(3).to(pixels.dtype)
        return pixels @ weights.transpose(2, 3), weights

    def _keys(self, prototypes: Tensor, active: Sequence[int]) -> Tensor:
        """(B, k, C, n) -> (B, k, d, n)."""
        for layer in self.key:
            prototypes = layer(prototypes, active)
        return prototypes

    def attention_maps(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor:
        target, source = self.pairs[row]
        query = self.query.at(inputs.features, target, row, pixels)
        prototypes, weights = self._prototypes(inputs, [row])
        shares = spread(query, self._keys(prototypes, [row])[:, 0], weights[:, 0])
        return shares.unflatten(2, inputs.features[source].shape[2:])

    def as_probe(self, projection: Tensor) -> bool:
        nn.init.zeros_(self.query.second.conv.weight)
        self.value.conv.give(projection)
        self.value.relu = False
        return True
