"""What a decoder is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from multitask.initialization import seeded


class Decoder(nn.Module, ABC):
    """Turns the encoder's maps into one map of features per task.

    Weights of all tasks together are created in `build`, those of one task in `task_part`; each draws its initial
    weights from a generator of its own, so that networks with other tasks share the common ones.

    encoder_channels, encoder_reductions: channels and stride of each of the encoder's maps, finest first.
    channels: C of each task's features.

    Attributes:
        parts: {task: the module of that task}.
        shared_channels: S, channels of the shared map, which the auxiliary heads read; set in `build`.
    """

    shared_channels: int

    def __init__(
        self,
        encoder_channels: Sequence[int],
        encoder_reductions: Sequence[int],
        channels: int,
        tasks: Sequence[str],
        *,
        seed: int = 0,
    ):
        super().__init__()
        self.encoder_channels, self.encoder_reductions = tuple(encoder_channels), tuple(encoder_reductions)
        self.channels = channels
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
    def forward(self, maps: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """maps: (B, encoder_channels[i], h_i, w_i), finest first.

        Returns {task: features (B, C, h, w)} and the shared map (B, S, h, w), all of one size, usually the finest
        map's. Auxiliary heads predict label regions from the shared map, without a gradient into it.
        """
