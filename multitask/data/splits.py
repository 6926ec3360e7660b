"""A dataset with its tasks and its splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from multitask.data.prior import Prior
from multitask.data.samples import Dataset
from multitask.tasks import Task


@dataclass(frozen=True)
class DatasetSplits:
    """A dataset: its tasks and its splits, train, val and test."""

    name: str
    tasks: dict[str, Task]
    splits: Mapping[str, Dataset]

    @cached_property
    def prior(self) -> Prior:
        """The constant predictions that its training split gives."""
        return Prior(self.splits, self.tasks)
