"""What a decoder is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from multitask.initialization import seeded

HEAD_STD = 0.01  # of the initial weights of heads


class Early(NamedTuple):
    """Predictions that are only trained: weight of their loss beside the final one's, {task: (B, channels, h, w)}."""

    weight: float
    predictions: dict[str, Tensor]


class Decoded(NamedTuple):
    """features: {task: (B, C, h, w)}; shared: (B, S, h, w), or {task: (B, S, h, w)}; early: of a training pass."""

    features: dict[str, Tensor]
    shared: Tensor | dict[str, Tensor]
    early: Sequence[Early] = ()


Scales = dict[int, dict[str, Tensor]]  # {scale: {task: (B, C, h, w)}}
Refine = Callable[[Scales, Tensor], Scales]  # of the features of all scales, and the shared map


class Decoder(nn.Module, ABC):
    """Turns the encoder's maps into one map of features per task, which the exchange refines and the heads read.

    Weights of all tasks together are created in `build`, those of one task in `task_part`; each draws its initial
    weights from a generator of its own, so that networks with other tasks share the common ones.

    encoder_channels, encoder_reductions: channels and stride of each of the encoder's maps, finest first.
    channels: C of each task's features.
    tasks: {task: channels of its prediction}. source_only: those that others read and that are not refined themselves.

    Attributes:
        parts: {task: the module of that task}.
        shared_channels: S, channels of the shared map, which the auxiliary heads read; set in `build`.
    """

    finest: ClassVar[int] = 4  # the smallest stride of the maps that it reads
    joint: ClassVar[bool] = False  # whether the sizes of what all tasks share follow from the tasks
    has_source_only: ClassVar[bool] = False  # whether it knows tasks that are not refined
    shared_channels: int

    def __init__(
        self,
        encoder_channels: Sequence[int],
        encoder_reductions: Sequence[int],
        channels: int,
        tasks: Mapping[str, int],
        *,
        source_only: Sequence[str] = (),
        seed: int = 0,
    ):
        super().__init__()
        self.encoder_channels, self.encoder_reductions = tuple(encoder_channels), tuple(encoder_reductions)
        self.channels = channels
        self.task_channels = dict(tasks)
        self.source_only = tuple(source_only)
        with seeded(seed, "decoder"):
            self.build()
        self.parts = nn.ModuleDict()
        for task in tasks:
            with seeded(seed, "decoder", task):
                self.parts[task] = self.task_part(task)

    @abstractmethod
    def build(self) -> None:
        """Sets `shared_channels` and creates what all tasks share."""

    @abstractmethod
    def task_part(self, task: str) -> nn.Module:
        """Creates what one task has for itself."""

    @abstractmethod
    def forward(self, maps: Sequence[Tensor]) -> tuple[Any, ...]:
        """maps: (B, encoder_channels[i], h_i, w_i), finest first.

        Returns {task: features (B, C, h, w)} and the shared map (B, S, h, w), all of one size, usually the finest
        map's. Auxiliary heads predict label regions from the shared map, without a gradient into it. A third value, a
        sequence of `Early`, holds predictions that precede the exchange and are trained beside the final ones.
        """

    def head(self, task: str) -> nn.Module:
        """Creates what follows the exchange: (B, C, h, w) to raw predictions, which are enlarged to the image."""
        return prediction(self.channels, self.task_channels[task])

    @classmethod
    def default_channels(cls, encoder_channels: Sequence[int]) -> int:
        """C where `network.channels` is not set: a quarter of the channels of all maps together."""
        return sum(encoder_channels) // 4

    @classmethod
    def scale_channels(cls, encoder_channels: Sequence[int]) -> tuple[int, ...]:
        """C of each task's features at each scale, finest first; empty where the decoder has features of one alone.

        A decoder with scales has one for each of the encoder's maps. Its `forward(maps, refine)` passes the features of
        all scales, {scale: {task: (B, C, h, w)}}, and the shared map to `refine`, where that is given, and goes on with
        what it returns.
        """
        return ()

    @classmethod
    def feature_reduction(cls, reductions: Sequence[int]) -> int:
        """The stride of the features, from those of the encoder's maps."""
        return reductions[0]


def prediction(channels: int, out_channels: int, kernel: int = 1) -> nn.Conv2d:
    """The last convolution of a head: small weights, no bias at the start."""
    layer = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=HEAD_STD)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
