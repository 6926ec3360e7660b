"""aspp: every task has an ASPP of its own on the coarsest map, joined with the finest one.

Source: the ASPP heads of Bruggemann et al., ATRC, ICCV 2021, built as DeepLabV3+ (Chen et al., ECCV 2018). Rates are
those for an output stride of 16 (`network.backbone_options: {output_stride: 16}`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multitask.decoders.base import Decoder
from multitask.decoders.layers import Aspp, concatenate, conv_norm
from multitask.resizing import resize

RATES = (6, 12, 18)
SKIP = 48  # channels of the finest map beside the ASPP's


class AsppPart(nn.Module):
    """F = convs3x3([ASPP(coarsest), conv1x1(finest)]); `convs` of them, each with BN and ReLU. Without rates, a conv1x1
    with BN and ReLU stands in the ASPP's place.
    """

    def __init__(
        self, channels: Sequence[int], out_channels: int, rates: Sequence[int], convs: int = 1, skip: int = SKIP
    ):
        super().__init__()
        self.aspp = Aspp(channels[-1], out_channels, rates) if rates else conv_norm(channels[-1], out_channels)
        self.skip = nn.Conv2d(channels[0], skip, 1)
        widths = [out_channels + skip, *([out_channels] * convs)]
        self.refine = nn.Sequential(*(conv_norm(width, out_channels, 3) for width in widths[:convs]))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        context = resize(self.aspp(maps[-1]), maps[0].shape[2:])
        return self.refine(torch.cat([context, self.skip(maps[0])], 1))


class AsppDecoder(Decoder):
    """shared: all maps enlarged and concatenated, for the auxiliary heads; features: an `AsppPart` of each task."""

    def build(self) -> None:
        self.shared_channels = sum(self.encoder_channels)

    def task_part(self, task: str) -> nn.Module:
        return AsppPart(self.encoder_channels, self.channels, RATES)

    def forward(self, maps: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        return {task: part(maps) for task, part in self.parts.items()}, concatenate(maps)
