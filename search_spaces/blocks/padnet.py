"""padnet_linear, padnet_conv, padnet_gate: the three distillation modules of PAD-Net, as messages of one source.

Source: Xu et al., PAD-Net, CVPR 2018, modules A, B and C; the gate follows Vandenhende et al., MTI-Net, ECCV 2020.
Modules B and C keep C channels; where messages are narrower (d < C), a 1x1 convolution with BN follows.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs, Pair
from search_spaces.blocks.layers import PairBatchNorm, PairConv, PairConvNorm


class PadnetLinear(ExchangeBlock):
    """Module A: m = W F_s. C d parameters a pair."""

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__(pairs, channels, message_channels, affine)
        self.project = PairConv(len(self.pairs), channels, message_channels)

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        return self.project.from_tasks(inputs.features, self.sources(active), active)


class PadnetConv(ExchangeBlock):
    """Module B: m = ReLU BN conv3x3(F_s). 9 C^2 + 2 C parameters a pair."""

    legal_on_self = False

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__(pairs, channels, message_channels, affine)
        narrows = message_channels != channels
        self.conv = PairConv(len(self.pairs), channels, channels, kernel=3)
        self.norm = PairBatchNorm(len(self.pairs), channels, affine or narrows)
        self.project = _narrowing(self, affine) if narrows else None

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        maps = F.relu(self.norm(self.conv.from_tasks(inputs.features, self.sources(active), active), active))
        return maps if self.project is None else self.project(maps, active)


class PadnetGate(ExchangeBlock):
    """Module C: m = conv3x3(F_s) * sigmoid(conv3x3(F_s)), no bias. 18 C^2 parameters a pair."""

    legal_on_self = False

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__(pairs, channels, message_channels, affine)
        self.conv = PairConv(len(self.pairs), channels, channels, kernel=3)
        self.gate = PairConv(len(self.pairs), channels, channels, kernel=3)
        self.project = _narrowing(self, affine) if message_channels != channels else None

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        sources = self.sources(active)
        gate = self.gate.from_tasks(inputs.features, sources, active).sigmoid()
        maps = self.conv.from_tasks(inputs.features, sources, active) * gate
        return maps if self.project is None else self.project(maps, active)

    def gate_maps(self, inputs: ExchangeInputs, row: int) -> Tensor:
        return self.gate.from_tasks(inputs.features, self.sources([row]), [row])[:, 0].sigmoid()

    def as_probe(self, projection: Tensor) -> bool:
        nn.init.zeros_(self.gate.weight)
        return True


def _narrowing(block: ExchangeBlock, affine: bool) -> PairConvNorm:
    return PairConvNorm(len(block.pairs), block.channels, block.message_channels, relu=False, affine=affine)
