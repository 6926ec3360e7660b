"""single_task, multi_task and branching: networks whose tasks exchange nothing."""

from retrain.baselines.base import Baseline
from retrain.model import Model
from search_spaces import SearchSpace


class SingleTask(Baseline):
    """One network per task."""

    name = "single_task"

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        return Model(self.name, separate=True, branches=False)


class MultiTask(Baseline):
    """A shared encoder, and nothing between the tasks' features."""

    name = "multi_task"

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        return Model(self.name, branches=False)


class Branching(Baseline):
    """The tree of `network.branches`: units of the encoder that some tasks share, and nothing between the features."""

    name = "branching"

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        return Model(self.name, branches=True)
