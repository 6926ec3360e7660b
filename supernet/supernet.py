"""The supernet: an exchange that holds every candidate for every pair, mixed by a selection."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from search_spaces import Exchange, SearchSpace
from supernet.selection import Selection


class Supernet(nn.Module):
    """Fits the exchange slot of any network.

    In training mode every forward draws new mixture weights; in eval mode the chosen block of each pair runs alone.
    """

    def __init__(self, space: SearchSpace, channels: int, generator: torch.Generator):
        super().__init__()
        self.exchange = Exchange(space, channels)
        self.selection = Selection(space)
        self.generator = generator
        self.temperature = 1.0

    def forward(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor], valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `Exchange.forward`."""
        drawn = self.selection.sample(self.temperature, self.generator) if self.training else self.selection.chosen()
        return self.exchange(features, regions, valid, drawn, self.selection.active(everything=self.training))
