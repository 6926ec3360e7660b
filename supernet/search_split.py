"""The search-validation split: training images that a search keeps from the weights."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import Subset

from experiment.errors import InputError
from multitask.data import Dataset, DatasetSplits, Sample
from multitask.data.splits import groups_of

STRETCHES = 16  # on either side, where groups are known or images are independent
LONG_STRETCHES = 8  # where neighbouring images may be frames of one video
GAP = 8  # of so many images of a long stretch, the last is left out: it may have a twin on the other side

LEAST = 2  # groups of images from which a spread can be estimated

Images = Subset[Sample]


def split_training(dataset: DatasetSplits, fraction: float, key: str = "validation_fraction") -> tuple[Images, Images]:
    """Training images for the weights, and this fraction of them for the choice; see `split`.

    key: of the fraction in the configuration. Raises InputError if either part is empty.
    """
    images = dataset.splits["train"]
    kept, held_out = split(len(images), fraction, groups_of(images))
    if not kept or not held_out:
        counts = f"{len(kept)} images to the weights and {len(held_out)} to the choice"
        raise InputError(f"{key} is {fraction}, which leaves {counts}: expected some for both")
    return Subset(images, kept), Subset(images, held_out)  # type: ignore[arg-type]


def trained_on(dataset: DatasetSplits, images: Images) -> DatasetSplits:
    """The dataset with these training images."""
    return replace(dataset, splits={**dataset.splits, "train": images})


def whole(dataset: Dataset) -> Images:
    """All images of a split."""
    return Subset(dataset, range(len(dataset)))  # type: ignore[arg-type]


def halves(images: Images) -> tuple[Images, Images]:
    """Two halves of some images; see `split`. Of 2 * LEAST groups or more, each half has LEAST or more."""
    parts = split(len(images), 0.5, groups_of(images))
    first, second = (Subset(images.dataset, [images.indices[i] for i in part]) for part in parts)
    return first, second


def group_numbers(images: Images) -> Tensor:
    """(images,), the number of each image's group; where the data names none, of its stretch of neighbours."""
    names = groups_of(images)
    if names is None:
        return torch.arange(len(images)) * min(LONG_STRETCHES, len(images)) // max(1, len(images))
    return torch.tensor(_numbered(names))


def split(count: int, held_out: float, groups: Sequence[str] | None = None) -> tuple[list[int], list[int]]:
    """Images to train on and images held out, in alternating stretches of neighbours.

    groups: the group of each image, none of which is divided. Without them every image may have a twin beside it, and
    some are left out between the stretches.
    """
    if groups is not None:
        numbers = _numbered(groups)
        kept, out = (set(part) for part in _alternate(max(numbers, default=-1) + 1, held_out, STRETCHES))
        return [i for i, n in enumerate(numbers) if n in kept], [i for i, n in enumerate(numbers) if n in out]
    return _alternate(count, held_out, LONG_STRETCHES, GAP)


def _numbered(groups: Sequence[str]) -> list[int]:
    """The groups by number, in the order in which they appear."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    return [numbers[name] for name in groups]


def _alternate(count: int, held_out: float, stretches: int, gap: int = 0) -> tuple[list[int], list[int]]:
    """gap: so many images of a stretch lose one at their end; 0 for none."""
    stretches = min(stretches, max(1, count // 2))
    kept: list[int] = []
    out: list[int] = []
    for i in range(stretches):
        begin, end = i * count // stretches, (i + 1) * count // stretches
        middle = end - round((end - begin) * held_out)
        for part, first, last in ((kept, begin, middle), (out, middle, end)):
            left_out = round((last - first) / gap) if gap else 0
            part += range(first, last - left_out)
    return kept, out
