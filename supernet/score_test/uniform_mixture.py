"""Training all candidates at once, so that taking any of them away is nothing new to the network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces import SearchSpace


@dataclass(frozen=True)
class Draw:
    """weights: (pairs, blocks), a pair's kept candidates count alike and add up to 1, or the pair is dropped; active:
    {block: the pairs on which it must be computed}.
    """

    weights: Tensor
    active: dict[str, list[int]]


class UniformMixture:
    """The candidates that may still speak on each pair.

    open: (pairs, blocks) bool, False at `none` (leaving all others out) and wherever a candidate is out of the race.
    pair_dropout: how often a pair is left out altogether; keep: how often each of its candidates is kept otherwise.
    """

    def __init__(self, space: SearchSpace, open: Tensor, pair_dropout: float = 0.2, keep: float = 1.0):
        self.space, self.open, self.pair_dropout, self.keep = space, open, pair_dropout, keep

    @staticmethod
    def everything(space: SearchSpace) -> Tensor:
        """All legal candidates of every pair, as `open`."""
        legal = [space.legal(pair) for pair in space.pairs]
        return torch.tensor([[name in names and name != "none" for name in space.blocks] for names in legal])

    def whole(self) -> Draw:
        """Every open candidate speaks."""
        return self._draw(self.open)

    def draw(self, generator: torch.Generator) -> Draw:
        """A random part of the open candidates; drawn on the CPU, whatever the device."""
        chance = torch.rand(self.open.shape, generator=generator)
        kept = self.open & (chance < self.keep)
        luckiest = torch.zeros_like(kept).scatter(1, chance.masked_fill(~self.open, 2.0).argmin(1, keepdim=True), True)
        kept = torch.where(kept.any(1, keepdim=True), kept, luckiest & self.open)  # nobody is silenced by losing all
        speaks = torch.rand(len(kept), 1, generator=generator) >= self.pair_dropout
        return self._draw(kept & speaks)

    def _draw(self, kept: Tensor) -> Draw:
        weights = kept.float() / kept.sum(1, keepdim=True).clamp_min(1)
        active = {name: kept[:, i].nonzero().flatten().tolist() for i, name in enumerate(self.space.blocks)}
        return Draw(weights, active)
