"""An encoder and a decoder for each task, called as if they were one; each task reads its own image where it has one.

A network of several tasks is then its tasks' single-task networks side by side, with the exchange between them.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from experiment.config import NetworkSettings
from multitask.backbones import Encoder, build_encoder
from multitask.data.samples import Image
from multitask.decoders import Decoder, decoder_class
from multitask.initialization import seeded


class TaskEncoders(nn.ModuleDict):
    """{task: its encoder}, all of one kind; the initial weights of each follow from the seed and the task's name."""

    def __init__(self, settings: NetworkSettings, tasks: Sequence[str], seed: int):
        super().__init__()
        for task in tasks:
            with seeded(seed, "encoder", task):
                self[task] = build_encoder(settings)
        first = cast(Encoder, self[tasks[0]])
        self.channels, self.reductions = first.channels, first.reductions

    def forward(self, image: Image) -> dict[str, list[Tensor]]:
        """(B, 3, H, W), or {task: (B, 3, H, W)} of these tasks and perhaps others, to the maps of each task."""
        return {task: encoder(image if isinstance(image, Tensor) else image[task]) for task, encoder in self.items()}


class TaskDecoders(nn.ModuleDict):
    """{task: its decoder}, each a decoder of one task."""

    def __init__(self, settings: NetworkSettings, encoders: TaskEncoders, channels: int, seed: int):
        super().__init__()
        build = decoder_class(settings.decoder)
        for task in encoders:
            self[task] = build(encoders.channels, encoders.reductions, channels, [task], seed=seed)
        self.shared_channels = cast(Decoder, self[next(iter(encoders))]).shared_channels

    def forward(self, maps: Mapping[str, Sequence[Tensor]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The features of each task, (B, C, h, w), and the map that its auxiliary head reads, (B, S, h, w)."""
        features, shared = {}, {}
        for task, decoder in self.items():
            own, shared[task] = decoder(maps[task])
            features[task] = own[task]
        return features, shared
