"""uniform:BLOCK and random: architectures of the space that no search chose."""

from collections.abc import Sequence

from retrain.baselines.base import Baseline
from retrain.model import Model
from search_spaces import Architecture, SearchSpace


class Uniform(Baseline):
    """The same block on every pair; `none` on the self-pairs where that block is not legal.

    `uniform:none` is the aggregator without messages.
    """

    name = "uniform"

    @classmethod
    def arguments(cls, space: SearchSpace) -> Sequence[str]:
        return space.blocks

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        architecture = Architecture.uniform(space.tasks, argument, space.aggregator, space.normalize_messages)
        return Model(f"{self.name}:{argument}", architecture)


class Random(Baseline):
    """Every pair's block drawn by the seed."""

    name = "random"

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        return Model(self.name, Architecture.random(space, seed))
