"""Samplers of a relaxed selection: the logits decide how likely each candidate is drawn, or how much it counts."""

import torch

from supernet.draws import Draw
from supernet.samplers import Sampler
from supernet.selection import Selection


class GumbelSampler(Sampler):
    """Gumbel-softmax weights of all candidates (ATRC), or of the likeliest one alone with `single_path` (GDAS).

    temperature: of the Gumbel-softmax; the strategy sets it.
    """

    def __init__(self, selection: Selection, generator: torch.Generator, single_path: bool = False):
        super().__init__(selection.space, generator)
        self.selection, self.single_path = selection, single_path
        self.temperature = 1.0

    def draw(self) -> Draw:
        soft = self.selection.sample(self.temperature, self.generator)
        if self.single_path:
            return Draw(*self.selection.single_path(soft))
        return Draw(soft, self.selection.active(everything=True))

    def whole(self) -> Draw:
        """The chosen block of each pair alone."""
        return Draw(self.selection.chosen(), self.selection.active(everything=False))


class SoftmaxSampler(GumbelSampler):
    """The softmax of the logits as weights of all candidates, nothing being drawn (DARTS, Liu et al., ICLR 2019)."""

    def draw(self) -> Draw:
        return Draw(self.selection.softmax(), self.selection.active(everything=True))
