"""deeplab_joint and deeplab_branched: DeepLabV3+ decoders that all tasks share, or that each has for itself; and
deeplab_plain and deeplab_aspp, which have less of them.

Source: Chen et al., DeepLabV3+, ECCV 2018, as a course report compared them on ResNet-34 with a dilated last stage
(`network.backbone_options: {output_stride: 16}`): ASPP rates 3, 6 and 9, two 3x3 convolutions of 256 channels, and a
3x3 convolution as each task's head.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from multitask.decoders.aspp import SKIP, AsppPart
from multitask.decoders.base import Decoder, prediction

RATES = (3, 6, 9)
CHANNELS = 256


class DeeplabJoint(Decoder):
    """One ASPP and decoder: all tasks have the same features, and the auxiliary heads read them too."""

    def build(self) -> None:
        self.shared_channels = self.channels
        self.common: nn.Module = AsppPart(self.encoder_channels, self.channels, RATES, convs=2)

    def task_part(self, task: str) -> nn.Module:
        return nn.Identity()

    def head(self, task: str) -> nn.Module:
        return prediction(self.channels, self.task_channels[task], 3)

    @classmethod
    def default_channels(cls, encoder_channels: Sequence[int]) -> int:
        return CHANNELS

    def forward(self, maps: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        features = self.common(maps)
        features = {task: features for task in self.parts}
        return features, features


class DeeplabBranched(DeeplabJoint):
    """An ASPP and decoder for each task; an auxiliary head reads its task's features."""

    def build(self) -> None:
        self.shared_channels = self.channels

    def task_part(self, task: str) -> nn.Module:
        return AsppPart(self.encoder_channels, self.channels, RATES, convs=2)

    def forward(self, maps: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        features = {task: part(maps) for task, part in self.parts.items()}
        return features, features


class DeeplabAspp(DeeplabJoint):
    """`deeplab_joint` without the two convolutions: the heads read the ASPP's maps beside the finest one's."""

    rates: ClassVar[Sequence[int]] = RATES

    def build(self) -> None:
        self.shared_channels = self.channels
        skip = min(SKIP, self.channels // 2)
        self.common = AsppPart(self.encoder_channels, self.channels - skip, self.rates, convs=0, skip=skip)

    @classmethod
    def default_channels(cls, encoder_channels: Sequence[int]) -> int:
        return CHANNELS + SKIP


class DeeplabPlain(DeeplabAspp):
    """`deeplab_aspp` with a conv1x1 in the ASPP's place."""

    rates = ()
