"""low_rank: a 3x3 convolution of the source through few channels.

Source: the low-rank experts of MLoRE (Yang et al., CVPR 2024), one for each pair.
Cost: r(9C + d) multiply-adds a pixel, with rank r = 16.
"""

from collections.abc import Sequence

from torch import Tensor

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs, Pair
from search_spaces.blocks.layers import PairConv, PairConvNorm

RANK = 16


class LowRank(ExchangeBlock):
    """m = ReLU BN conv1x1 conv3x3(F_s), from C to r to d channels. r(9C + d) + 2d parameters a pair (2d fewer without
    affine).
    """

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__(pairs, channels, message_channels, affine)
        count = len(self.pairs)
        self.reduce = PairConv(count, channels, RANK, kernel=3)
        self.expand = PairConvNorm(count, RANK, message_channels, affine=affine)

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        return self.expand(self.reduce.from_tasks(inputs.features, self.sources(active), active), active)

    def as_probe(self, projection: Tensor) -> bool:
        self.expand.relu = False
        return True
