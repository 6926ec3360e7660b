"""A dataset with its tasks and its splits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from torch.utils.data import Subset

from multitask.data.prior import Prior
from multitask.data.samples import Dataset
from multitask.tasks import Task

KINDS = ("photo", "range", "plain")  # of images


def groups_of(dataset: Dataset) -> list[str] | None:
    """The group of each image, also of a part of a split; None where the data does not say."""
    if isinstance(dataset, Subset):
        groups = groups_of(cast(Dataset, dataset.dataset))
        return None if groups is None else [groups[index] for index in dataset.indices]
    groups = getattr(dataset, "groups", None)
    return None if groups is None else list(groups)


@dataclass(frozen=True)
class DatasetSplits:
    """A dataset: its tasks and its splits, train, val and test.

    images: {task: the kind of its image} where tasks have images of their own, else empty: every sample has one photo.
        The kind says what training may change: the brightness and colour of a `photo`; the readings of `range`, which
        are inverse depths and grow as the image is magnified; nothing of a `plain` one.
    """

    name: str
    tasks: dict[str, Task]
    splits: Mapping[str, Dataset]
    images: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def prior(self) -> Prior:
        """The constant predictions that its training split gives."""
        return Prior(self.splits, self.tasks)
