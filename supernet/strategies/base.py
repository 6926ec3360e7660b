"""What every search strategy is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from experiment.config import Config
from multitask.data import DatasetSplits
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.records.choices import Choice


class Strategy(ABC):
    """A procedure that chooses a block for every pair.

    Its life: `check(config, dataset)` before anything is written; then, once, `search(context)`, which makes a sampler,
    takes a network from `context.supernet(sampler)`, trains it by `context.trainer(network, callback).fit()`, writes
    selection.csv by `context.record()`, and returns a choice for every pair. A stopped run calls `search` again: `fit`
    then resumes from the run's checkpoint, and everything else must follow from the seed and what was trained.

    The strategy's settings are the group of its name below `search` (experiment/config/search.py); those of a strategy
    of one's own, `search.options`, are its keyword arguments.
    """

    name: ClassVar[str]
    knows_scales: ClassVar[bool] = True  # whether tasks may exchange features at several scales

    @classmethod
    def check(cls, config: Config, dataset: DatasetSplits) -> None:
        """Raises InputError for settings that cannot be followed, too few images, or a library that is missing."""
        return None  # most strategies have nothing to check

    @abstractmethod
    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        """A choice for every pair of `context.space`, in its order, within `context.budget` where there is one."""
