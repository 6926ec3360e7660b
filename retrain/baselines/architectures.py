"""uniform:BLOCK, own:BLOCK and random: architectures of the space that no search chose."""

from collections.abc import Sequence
from dataclasses import replace

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
        rule = space.normalize_messages
        architecture = Architecture.uniform(space.tasks, argument, space.aggregator, rule, space.scales)
        return Model(f"{self.name}:{argument}", architecture)


class Own(Uniform):
    """uniform:BLOCK whose blocks read the target's own features in the source's place.

    The same parameters and initial weights, and no word of another task: what it gains is a gain of capacity.
    """

    name = "own"

    @classmethod
    def arguments(cls, space: SearchSpace) -> Sequence[str]:
        return [name for name in space.blocks if name != "none"]

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        return replace(super().model(space, seed, argument), own_features=True)


class Random(Baseline):
    """Every pair's block drawn by the seed."""

    name = "random"

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        return Model(self.name, Architecture.random(space, seed))
