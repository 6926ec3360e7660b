"""An encoder for each task, which reads its own image where it has one, and a decoder for each task or group of tasks;
called as if they were one.

A network with an encoder for each task is its tasks' single-task networks side by side, with the exchange between them.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from experiment.config import NetworkSettings
from experiment.errors import InputError
from multitask.backbones import Encoder, build_encoder
from multitask.data.samples import Image
from multitask.decoders import Decoded, Decoder, Early, decoder_class
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


def build_decoder(
    settings: NetworkSettings, encoder: Encoder, channels: int, tasks: Mapping[str, int], seed: int
) -> Decoder:
    """The decoder of these tasks, {task: channels of its prediction}; C channels of features.

    Raises InputError for `network.source_only` where the decoder has no such tasks.
    """
    build, names = decoder_class(settings.decoder), settings.source_only
    if not names:  # an argument that a user's decoder need not have
        return build(encoder.channels, encoder.reductions, channels, tasks, seed=seed)
    if not build.has_source_only:
        raise InputError(
            f"network.source_only is {names}, but network.decoder is {settings.decoder}: expected distillation"
        )
    source_only = [name for name in names if name in tasks]
    return build(encoder.channels, encoder.reductions, channels, tasks, source_only=source_only, seed=seed)


class TaskDecoders(nn.ModuleDict):
    """{first task of a group: the group's decoder}. Tasks of one group have the same maps.

    groups: by default every task by itself.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        encoder: Encoder,
        channels: int,
        tasks: Mapping[str, int],
        seed: int,
        groups: Sequence[Sequence[str]] | None = None,
    ):
        super().__init__()
        self.groups = [[task] for task in tasks] if groups is None else [list(group) for group in groups]
        for group in self.groups:
            self[group[0]] = build_decoder(settings, encoder, channels, {task: tasks[task] for task in group}, seed)
        self.shared_channels = cast(Decoder, self[self.groups[0][0]]).shared_channels

    def head(self, task: str) -> nn.Module:
        return cast(Decoder, self[next(group[0] for group in self.groups if task in group)]).head(task)

    def forward(self, maps: Mapping[str, Sequence[Tensor]]) -> Decoded:
        """The features of each task, (B, C, h, w), and the map that its auxiliary head reads, (B, S, h, w)."""
        features: dict[str, Tensor] = {}
        shared: dict[str, Tensor] = {}
        early: list[Early] = []
        for group in self.groups:
            own = Decoded(*self[group[0]](maps[group[0]]))
            features |= own.features
            for task in group:
                shared[task] = own.shared if isinstance(own.shared, Tensor) else own.shared[task]
            early += own.early
        return Decoded({task: features[task] for task in maps}, shared, early)
