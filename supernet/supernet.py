"""The supernet: an exchange that holds every candidate for every pair, mixed by a selection."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from search_spaces import Exchange, SearchSpace
from supernet.fair_paths import FairPaths
from supernet.score_test.uniform_mixture import UniformMixture
from supernet.selection import Selection

SAMPLINGS = ("mixture", "single_path")  # and softmax, a mixture without a draw, which belongs to darts


class Supernet(nn.Module):
    """Fits the exchange slot of any network.

    In training mode every forward draws new weights, of a mixture or of a single path (see SearchSettings) or as a
    strategy says; in eval mode the chosen block of each pair runs alone.
    """

    def __init__(
        self,
        space: SearchSpace,
        channels: int,
        generator: torch.Generator,
        sampling: str = "mixture",
        recompute: Sequence[str] = (),
    ):
        super().__init__()
        self.exchange = Exchange(space, channels, recompute=recompute)
        self.sampling = sampling
        self.selection = Selection(space)
        self.mixture: UniformMixture | None = None  # instead of the selection
        self.paths: FairPaths | None = None  # instead of the selection, in training
        self.generator = generator
        self.temperature = 1.0

    def forward(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor], valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `Exchange.forward`."""
        if self.mixture is not None:
            drawn = self.mixture.draw(self.generator) if self.training else self.mixture.whole()
            weights, active = drawn.weights.to(self.selection.logits.device, non_blocking=True), drawn.active
        elif not self.training:
            weights, active = self.selection.chosen(), self.selection.active(everything=False)
        else:
            weights, active = self._draw()
        return self.exchange(features, regions, valid, weights, active)

    def _draw(self) -> tuple[Tensor, dict[str, list[int]]]:
        """The weights of a training step, and the blocks that it must compute."""
        if self.paths is not None:
            return self.selection.path(self.paths.draw())
        if self.sampling == "softmax":
            return self.selection.softmax(), self.selection.active(everything=True)
        weights = self.selection.sample(self.temperature, self.generator)
        if self.sampling == "single_path":
            return self.selection.single_path(weights)
        return weights, self.selection.active(everything=True)
