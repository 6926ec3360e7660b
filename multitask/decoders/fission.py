"""fission_early, fission_early_mid, fission_mid, fission_late: one decoder that splits into tasks at four depths.

Source: Hickson et al., decoder fission on AdapNet++ (Valada et al., IJCV 2020): an efficient ASPP and two stages with
skips, then a head. It splits before stage 1, after stage 1, after stage 2, or within the head. Here the encoder is any
that gives maps; the skips' projections and the ASPP, parts of AdapNet++'s encoder, belong to the decoder.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from multitask.decoders.base import Decoded, Decoder, Early
from multitask.decoders.layers import Pooled, conv_norm
from multitask.resizing import resize

RATES = (3, 6, 12)
NARROW, SKIP = 64, 24  # channels inside the ASPP's branches, and of a skip
EARLY = (0.5, 0.6)  # weights of the early predictions of stages 1 and 2


class EfficientAspp(nn.Module):
    """Each branch reduces, convolves twice at its rate, and expands; the projection ends without a ReLU."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        branches: list[nn.Module] = [conv_norm(channels, out_channels)]
        for rate in RATES:
            twice = [conv_norm(NARROW, NARROW, 3, dilation=rate) for _ in range(2)]
            branches.append(nn.Sequential(conv_norm(channels, NARROW), *twice, conv_norm(NARROW, out_channels)))
        self.branches = nn.ModuleList([*branches, Pooled(channels, out_channels)])
        self.project = conv_norm(len(self.branches) * out_channels, out_channels, relu=False)

    def forward(self, maps: Tensor) -> Tensor:
        return self.project(torch.cat([branch(maps) for branch in self.branches], 1))


class Stage(nn.Module):
    """Twice as large by a transposed convolution with BN, joined with a skip, and two 3x3 convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.refine = nn.Sequential(conv_norm(channels + SKIP, channels, 3), conv_norm(channels, channels, 3))

    def forward(self, maps: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """The stage's features and the enlarged maps before the skip, which early predictions read."""
        enlarged = resize(self.norm(self.up(maps)), skip.shape[2:])
        return self.refine(torch.cat([enlarged, skip], 1)), enlarged


class FissionHead(nn.Module):
    """conv1x1 BN ReLU, and four times as large by a transposed convolution with BN."""

    def __init__(self, channels: int, predicted: int):
        super().__init__()
        self.narrow = conv_norm(channels, predicted)
        self.up = nn.ConvTranspose2d(predicted, predicted, 8, 4, 2, bias=False)
        self.norm = nn.BatchNorm2d(predicted)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(self.up(self.narrow(maps)))


class HeadPart(nn.Module):
    """One task's channels of a head that all tasks share."""

    def __init__(self, shared: FissionHead, first: int, count: int):
        super().__init__()
        self.shared, self.first, self.count = shared, first, count

    @property
    def bias(self) -> Tensor:
        return self.shared.norm.bias[self.first : self.first + self.count]

    def forward(self, maps: Tensor) -> Tensor:
        return self.shared(maps)[:, self.first : self.first + self.count]


def _finest(values: Sequence[Any]) -> tuple[Any, Any]:
    """The two finest maps, the coarser of them first."""
    return values[min(1, len(values) - 1)], values[0]


class FissionMid(Decoder):
    """Both stages are shared, each task has a head. All tasks have the same features; the auxiliary heads read them."""

    shared_stages: ClassVar[int] = 2

    def build(self) -> None:
        channels, maps = self.channels, self.encoder_channels
        self.shared_channels = channels
        self.aspp = EfficientAspp(maps[-1], channels)
        self.skips = nn.ModuleList(conv_norm(width, SKIP, relu=False) for width in _finest(maps))
        self.stages = nn.ModuleList(Stage(channels) for _ in range(self.shared_stages))

    def task_part(self, task: str) -> nn.Module:
        predicted = self.task_channels[task]
        own = nn.ModuleList(Stage(self.channels) for _ in range(2 - self.shared_stages))
        early = nn.ModuleList(conv_norm(self.channels, predicted, relu=False) for _ in range(2))
        return nn.ModuleDict({"stages": own, "early": early})

    def head(self, task: str) -> nn.Module:
        return FissionHead(self.channels, self.task_channels[task])

    @classmethod
    def default_channels(cls, encoder_channels: Sequence[int]) -> int:
        return 256

    def forward(self, maps: Sequence[Tensor]) -> Decoded:
        bottleneck = self.aspp(maps[-1])
        skips = [skip(m) for skip, m in zip(self.skips, _finest(maps), strict=True)]
        common = bottleneck
        enlarged: list[Tensor] = []
        for stage, skip in zip(self.stages, skips):
            common, before = stage(common, skip)
            enlarged.append(before)
        features = {}
        early = [Early(weight, {}) for weight in EARLY]
        for task, part in self.parts.items():
            state, read = common, list(enlarged)
            for stage, skip in zip(part["stages"], skips[self.shared_stages :], strict=True):  # type: ignore[index]
                state, before = stage(state, skip)
                read.append(before)
            features[task] = state
            if self.training:
                for one, layer, given in zip(early, part["early"], read, strict=True):  # type: ignore[index]
                    one.predictions[task] = layer(given)
        return Decoded(features, features, early if self.training else [])


class FissionEarly(FissionMid):
    """Only the bottleneck is shared."""

    shared_stages = 0


class FissionEarlyMid(FissionMid):
    """Stage 1 is shared."""

    shared_stages = 1


class FissionLate(FissionMid):
    """One head for all tasks, whose channels are divided among them."""

    joint = True

    def build(self) -> None:
        super().build()
        self.common_head = FissionHead(self.channels, sum(self.task_channels.values()))

    def head(self, task: str) -> nn.Module:
        names = list(self.task_channels)
        first = sum(self.task_channels[name] for name in names[: names.index(task)])
        return HeadPart(self.common_head, first, self.task_channels[task])
