"""Single paths through the supernet that train every block of a pair equally often.

Source: strict fairness of Chu et al., FairNAS (arXiv:1907.01845): each block of a pair is trained once a round. There
one update follows each round; here each path is a step of its own.
"""

import torch

from search_spaces import SearchSpace
from supernet.draws import Draw, blocks_by_pair, one_hot
from supernet.samplers import Sampler


class FairPaths(Sampler):
    """Every pair goes through its legal blocks in a random order, each once a round, and then begins another round.

    Pairs have rounds of different lengths: one with few blocks begins anew while others still go on.
    """

    single_path = True
    saves = ("waiting",)

    def __init__(self, space: SearchSpace, generator: torch.Generator):
        super().__init__(space, generator)
        self.legal = [[space.blocks.index(name) for name in space.legal(pair)] for pair in space.pairs]
        self.waiting: list[list[int]] = [[] for _ in self.legal]  # what is left of each pair's round

    def path(self) -> list[int]:
        """The next block of each pair, as an index into the space's blocks."""
        for legal, waiting in zip(self.legal, self.waiting, strict=True):
            if not waiting:
                order = torch.randperm(len(legal), generator=self.generator).tolist()
                waiting += [legal[i] for i in order]
        return [waiting.pop() for waiting in self.waiting]

    def draw(self) -> Draw:
        return self._draw(self.path())

    def whole(self) -> Draw:
        """No exchange: an architecture is evaluated by extracting it."""
        return self._draw([self.space.blocks.index("none")] * len(self.legal))

    def _draw(self, path: list[int]) -> Draw:
        active = blocks_by_pair(self.space, [(self.space.blocks[k],) for k in path])
        return Draw(one_hot(torch.tensor(path), len(self.space.blocks)), active)
