"""The search-validation split: training images that a search keeps from the weights."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import Subset

from experiment.errors import InputError
from multitask.data import DatasetSplits, Sample

STRETCHES = 16  # neighbouring images, such as frames of one video, stay on one side

Images = Subset[Sample]


def split_training(dataset: DatasetSplits, fraction: float) -> tuple[Images, Images]:
    """Training images for the weights, and this fraction of them for the choice.

    Raises InputError if either part is empty.
    """
    images = dataset.splits["train"]
    kept, held_out = split(len(images), fraction)
    if not kept or not held_out:
        counts = f"{len(kept)} images to the weights and {len(held_out)} to the choice"
        raise InputError(f"validation_fraction is {fraction}, which leaves {counts}: expected some for both")
    return Subset(images, kept), Subset(images, held_out)  # type: ignore[arg-type]


def trained_on(dataset: DatasetSplits, images: Images) -> DatasetSplits:
    """The dataset with these training images."""
    return replace(dataset, splits={**dataset.splits, "train": images})


def halves(images: Images) -> tuple[Images, Images]:
    """Two halves of some images, in alternating stretches of neighbours."""
    first, second = (Subset(images.dataset, [images.indices[i] for i in part]) for part in split(len(images), 0.5))
    return first, second


def stretches(count: int) -> Tensor:
    """(count,), the number of the stretch of neighbours that each image belongs to."""
    return torch.arange(count) * min(STRETCHES, count) // count


def split(count: int, held_out: float) -> tuple[list[int], list[int]]:
    """Images to train on and images held out, in alternating stretches of neighbours."""
    stretches = min(STRETCHES, max(1, count // 2))
    kept: list[int] = []
    out: list[int] = []
    for i in range(stretches):
        begin, end = i * count // stretches, (i + 1) * count // stretches
        middle = end - round((end - begin) * held_out)
        kept += range(begin, middle)
        out += range(middle, end)
    return kept, out
