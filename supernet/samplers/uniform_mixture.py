"""A uniform mixture of all candidates, with pairs left out at random, so that the network knows their absence."""

import torch
from torch import Tensor

from search_spaces import SearchSpace
from supernet.draws import Draw
from supernet.samplers import Sampler


class UniformMixture(Sampler):
    """All candidates of a pair count alike. In training, each pair is left out with probability `pair_dropout`.

    candidates: (pairs, blocks) bool, False at `none`; by default all legal blocks of every pair.
    """

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator,
        pair_dropout: float = 0.2,
        candidates: Tensor | None = None,
    ):
        super().__init__(space, generator)
        self.pair_dropout = pair_dropout
        self.candidates = all_candidates(space) if candidates is None else candidates

    def draw(self) -> Draw:
        kept = torch.rand(len(self.candidates), 1, generator=self.generator) >= self.pair_dropout
        return self._draw(self.candidates & kept)

    def whole(self) -> Draw:
        return self._draw(self.candidates)

    def _draw(self, kept: Tensor) -> Draw:
        weights = kept.float() / kept.sum(1, keepdim=True).clamp_min(1)
        active = {name: kept[:, i].nonzero().flatten().tolist() for i, name in enumerate(self.space.blocks)}
        return Draw(weights, active)


def all_candidates(space: SearchSpace) -> Tensor:
    """(pairs, blocks) bool: the legal blocks of every pair but `none`."""
    legal = [space.legal(pair) for pair in space.pairs]
    return torch.tensor([[name in names and name != "none" for name in space.blocks] for names in legal])
