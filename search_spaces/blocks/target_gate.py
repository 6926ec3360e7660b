"""target_gate: the target decides, pixel by pixel and channel by channel, how much of the source it lets in.

Source: the cross-task gate of MTMamba (Lin et al., ECCV 2024), with a depth-wise convolution in the place of its
selective scan. The block padnet_gate gates by the source instead.
Cost: 2Cd + 49C multiply-adds a pixel.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs, Pair
from search_spaces.blocks.layers import PairConv, PairConvNorm, PairDepthwise

KERNEL = 7


class TargetGate(ExchangeBlock):
    """m = sigmoid(conv1x1 F_t) * ReLU BN conv1x1 DW7x7(F_s).

    2Cd + 49C + 3d parameters a pair (2d fewer without affine).
    """

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__(pairs, channels, message_channels, affine)
        count = len(self.pairs)
        self.gate = PairConv(count, channels, message_channels, bias=True)
        self.spread = PairDepthwise(count, channels, KERNEL)
        self.value = PairConvNorm(count, channels, message_channels, affine=affine)

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        gate = self.gate.from_tasks(inputs.features, self.targets(active), active).sigmoid()
        return gate * self.value(self.spread.from_tasks(inputs.features, self.sources(active), active), active)

    def gate_maps(self, inputs: ExchangeInputs, row: int) -> Tensor:
        return self.gate.from_tasks(inputs.features, self.targets([row]), [row])[:, 0].sigmoid()

    def as_probe(self, projection: Tensor) -> bool:
        nn.init.zeros_(self.gate.weight)
        self.value.relu = False
        return True
