"""mti_net and mti_net_faithful: MTI-Net, whose tasks exchange features at every scale before the decoder's end.

Source: Vandenhende et al., MTI-Net, ECCV 2020. Each scale's distillation adds conv3x3(F_s) * sigmoid(conv3x3(F_s)) of
every other task. `mti_net` normalises the propagation's gate over tasks, as the paper says; `mti_net_faithful` over
neighbouring channels, as the published code does, so that its outputs depend on the order of the tasks.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from multitask.decoders.base import Decoded, Refine
from multitask.decoders.fpm import FpmDecoder
from multitask.decoders.layers import concatenate, conv_norm


class Gated(nn.Module):
    """conv3x3(x) * sigmoid(conv3x3(x)), without bias."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv(maps) * self.gate(maps).sigmoid()


class MtiNetDecoder(FpmDecoder):
    """The neck of fpm, distillation at every scale, and a 1x1 convolution over all; C = sum(encoder_channels)."""

    def task_part(self, task: str) -> nn.Module:
        part = super().task_part(task)
        others = [name for name in self.task_channels if name != task]
        messages = [nn.ModuleDict({source: Gated(channels) for source in others}) for channels in self.encoder_channels]
        part.add_module("distill", nn.ModuleList(messages))
        return part

    def joining(self) -> nn.Module:
        return conv_norm(self.shared_channels, self.channels)

    @classmethod
    def default_channels(cls, encoder_channels: Sequence[int]) -> int:
        return sum(encoder_channels)

    @classmethod
    def scale_channels(cls, encoder_channels: Sequence[int]) -> tuple[int, ...]:
        return ()  # its own distillation is the exchange at all scales

    def forward(self, maps: Sequence[Tensor], refine: Refine | None = None) -> Decoded:
        scales, early = self.pyramids(maps)
        features = {}
        for task, part in self.parts.items():
            distilled = [
                _distil(task, scale, messages)
                for scale, messages in zip(scales, part["distill"], strict=True)  # type: ignore[index]
            ]
            features[task] = part["join"](concatenate(distilled))  # type: ignore[index]
        return Decoded(features, concatenate(maps), early)


def _distil(task: str, features: Mapping[str, Tensor], messages: Mapping[str, nn.Module]) -> Tensor:
    return sum((message(features[source]) for source, message in messages.items()), features[task])


class MtiNetFaithful(MtiNetDecoder):
    """With the published code's gate."""

    faithful = True
