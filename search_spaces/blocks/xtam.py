"""xtam: cross-task attention of DenseMTL, spatial attention plus a gated self-attention of the source; xtam_channel
attends over channels in the place of pixels, xtam_both over both.

Source: Lopes et al., Cross-task Attention Mechanism for Dense Multi-task Learning, WACV 2023, section 3.1.
The paper names channel attention; the public code does not define it, and its form here is our own.
Cost: (19.5 C^2 H W + 3 C^2 L' + 2 C L'^2) multiply-adds with L' = H W / scale^2; of channel attention 2 C^2 L' in the
place of 2 C L'^2; of both C^2 H W + 2 C^2 L' more.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.blocks.attention import fused_attention
from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs, Pair
from search_spaces.blocks.layers import PairConv, PairConvNorm, convolve_pairs, pick

MAX_POSITIONS = 8192


class CrossTaskAttention(ExchangeBlock):
    """f = ReLU BN conv1x1([SA(e), alpha * X]), e = ReLU conv3x3(F_s), with one alpha per channel starting at 0.

    X attends from the target to the source on maps reduced `scale` times: by nearest sampling for the queries, by
    max-pooling for keys and values. DenseMTL's reduction at stride 4 is 2; it doubles until at most 8192 positions
    are left.
    """

    legal_on_self = False
    over_pixels: ClassVar[bool] = True
    over_channels: ClassVar[bool] = False

    def __init__(
        self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True, scale: int = 2
    ):
        super().__init__(pairs, channels, message_channels, affine)
        count = len(self.pairs)
        self.scale = scale
        self.embed = PairConv(count, channels, channels, kernel=3, bias=True)
        self.query = PairConvNorm(count, channels, channels)
        self.key = PairConvNorm(count, channels, channels)
        self.value = PairConvNorm(count, channels, channels)
        self.gated = PairConv(count, channels, channels // 2, kernel=3)
        self.gate = PairConv(count, channels, channels // 2, kernel=3)
        kinds = self.over_pixels + self.over_channels
        self.alpha = nn.Parameter(torch.zeros(count, kinds * channels))
        self.project = PairConvNorm(count, kinds * channels + channels // 2, message_channels, affine=affine)

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        embedded, pooled, query, key = self._ends(inputs, active)
        size, small = embedded.shape[3:], pooled.shape[3:]
        value = self.value(pooled, active)
        q, k, v = (x.flatten(3).transpose(2, 3) for x in (query, key, value))  # (B, k, L', C)
        kinds = []
        if self.over_pixels:
            kinds.append(fused_attention(q, k, v).transpose(2, 3))
        if self.over_channels:
            kinds.append(fused_attention(*(x.transpose(2, 3) for x in (q, k, v))))
        attended = torch.cat(kinds, 2).unflatten(3, small)
        attended = F.interpolate(attended.flatten(0, 1), size=size, mode="nearest").unflatten(0, embedded.shape[:2])

        alpha = pick(self.alpha, active).view(len(active), -1, 1, 1)
        both = torch.cat([pick(self.gated.weight, active), pick(self.gate.weight, active)], 1)
        gated, gate = convolve_pairs(embedded, both).chunk(2, 2)
        itself = gated * gate.sigmoid()
        return self.project(torch.cat([itself, alpha * attended], 2), active)

    def _ends(self, inputs: ExchangeInputs, active: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """e, (B, k, C, H, W), and reduced: e again, the target's queries and the source's keys."""
        features = inputs.features
        embedded = F.relu(self.embed.from_tasks(features, self.sources(active), active))
        size = embedded.shape[3:]
        scale = self.scale
        while -(-size[0] // scale) * -(-size[1] // scale) > MAX_POSITIONS:
            scale *= 2

        pooled = F.max_pool2d(embedded.flatten(0, 1), scale, ceil_mode=True).unflatten(0, embedded.shape[:2])
        small = pooled.shape[3:]
        targets = self.targets(active)
        reduced = {task: F.interpolate(features[task], size=small, mode="nearest") for task in dict.fromkeys(targets)}
        query = self.query.from_tasks(reduced, targets, active)
        return embedded, pooled, query, self.key(pooled, active)

    def attention_maps(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor | None:
        if not self.over_pixels:
            return None
        _, pooled, query, key = self._ends(inputs, [row])
        height, width = inputs.features[self.pairs[row][0]].shape[2:]
        small = pooled.shape[3:]
        # the place in the reduced map whose message a pixel gets
        places = torch.arange(small.numel(), dtype=torch.float64).view(1, 1, *small)
        places = F.interpolate(places, size=(height, width), mode="nearest").flatten()[pixels.cpu()].long()
        logits = query[:, 0].flatten(2)[..., places].transpose(1, 2) @ key[:, 0].flatten(2) / self.channels**0.5
        return logits.softmax(2).unflatten(2, small)

    def as_probe(self, projection: Tensor) -> bool:
        nn.init.zeros_(self.query.conv.weight)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.alpha)
        self.value.relu = self.project.relu = False
        return True


class ChannelAttention(CrossTaskAttention):
    """X attends from each channel of the target to the source's channels, with logits q k^T / sqrt(L')."""

    over_pixels, over_channels = False, True


class DoubleAttention(CrossTaskAttention):
    """Both X side by side, each with a scale of its own."""

    over_channels = True
