"""Single paths through the supernet that favour no block.

Source: strict fairness of Chu et al., FairNAS (arXiv:1907.01845): each block of a pair is trained once a round. There
one update follows each round; here each path is a step of its own.
"""

from collections.abc import Mapping
from typing import Any

import torch

from search_spaces import SearchSpace


class FairPaths:
    """Every pair goes through its legal blocks in a random order, each once a round, and then begins another round.

    Pairs have rounds of different lengths: one with few blocks begins anew while others still go on.
    """

    def __init__(self, space: SearchSpace, generator: torch.Generator):
        self.legal = [[space.blocks.index(name) for name in space.legal(pair)] for pair in space.pairs]
        self.generator = generator
        self.waiting: list[list[int]] = [[] for _ in self.legal]  # what is left of each pair's round

    def draw(self) -> list[int]:
        """The block of each pair, as an index into the space's blocks."""
        for legal, waiting in zip(self.legal, self.waiting, strict=True):
            if not waiting:
                order = torch.randperm(len(legal), generator=self.generator).tolist()
                waiting += [legal[i] for i in order]
        return [waiting.pop() for waiting in self.waiting]

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "waiting": [list(waiting) for waiting in self.waiting]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.waiting = [list(waiting) for waiting in state["waiting"]]
