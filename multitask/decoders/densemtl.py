"""densemtl: a decoder for each task with skips from the encoder; tasks exchange features before its last stage.

Source: Lopes et al., DenseMTL, WACV 2023, on ResNet-101 with a dilated last stage (`network.backbone_options:
{output_stride: 16}`). With `space.name: densemtl` and `space.aggregator: mteb` the network is the published one.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multitask.decoders.base import Decoded, Decoder, Early, prediction
from multitask.decoders.layers import Aspp

RATES = (6, 12, 18)
WIDTHS = (64, 128, 128, 256, 256)  # of stages 0 to 4, from fine to coarse
DROPOUT = 0.5  # behind the ASPP


class ConvElu(nn.Module):
    """elu(conv3x3(x)), the border mirrored where the map is large enough, with bias."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3)

    def forward(self, maps: Tensor) -> Tensor:
        mode = "reflect" if min(maps.shape[2:]) > 1 else "replicate"
        return F.elu(self.conv(F.pad(maps, (1, 1, 1, 1), mode=mode)))


class Stage(nn.Module):
    """elu conv3x3([elu conv3x3(x) enlarged to the skip's size, skip]); the coarsest stage begins with an ASPP."""

    def __init__(self, channels: int, skip: int, width: int, coarsest: bool):
        super().__init__()
        self.first: nn.Module = ConvElu(channels, width)
        if coarsest:
            self.first = nn.Sequential(Aspp(channels, width, RATES), nn.Dropout(DROPOUT))
        self.second = ConvElu(width + skip, width)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        enlarged = F.interpolate(self.first(maps), size=skip.shape[2:], mode="nearest")
        return self.second(torch.cat([enlarged, skip], 1))


class LastStage(nn.Module):
    """Stage 0, without a skip, and the prediction: (B, C, h, w) -> (B, n, 2 h, 2 w)."""

    def __init__(self, channels: int, predicted: int):
        super().__init__()
        self.first = ConvElu(channels, WIDTHS[0])
        self.second = ConvElu(WIDTHS[0], WIDTHS[0])
        self.predict = prediction(WIDTHS[0], predicted)

    def forward(self, maps: Tensor) -> Tensor:
        return self.predict(self.second(F.interpolate(self.first(maps), scale_factor=2, mode="nearest")))


class DenseMtlDecoder(Decoder):
    """Features: those of stage 1, at the size of the encoder's finest map, of stride 2; the auxiliary heads read them.

    Early: a 1x1 convolution of them, supervised like the final prediction. Head: `LastStage`.
    """

    finest = 2

    def build(self) -> None:
        self.shared_channels = self.channels

    def task_part(self, task: str) -> nn.Module:
        maps = self.encoder_channels
        count = len(maps)
        widths = [self.channels, *(WIDTHS[min(i, len(WIDTHS) - 1)] for i in range(2, count)), maps[-1]]
        stages = [
            Stage(below, maps[i], width, coarsest=i == count - 2) for i, (width, below) in enumerate(pairwise(widths))
        ]
        return nn.ModuleDict(
            {"stages": nn.ModuleList(stages), "early": prediction(self.channels, self.task_channels[task])}
        )

    def head(self, task: str) -> nn.Module:
        return LastStage(self.channels, self.task_channels[task])

    @classmethod
    def default_channels(cls, encoder_channels: Sequence[int]) -> int:
        return WIDTHS[1]

    def forward(self, maps: Sequence[Tensor]) -> Decoded:
        features, predicted = {}, {}
        for task, part in self.parts.items():
            state = maps[-1]
            for stage, skip in reversed(list(zip(part["stages"], maps[:-1], strict=True))):  # type: ignore[index]
                state = stage(state, skip)
            features[task] = state
            if self.training:
                predicted[task] = part["early"](state)  # type: ignore[index]
        return Decoded(features, features, [Early(1.0, predicted)] if predicted else [])
