"""Training images that a search keeps from the weights."""

from dataclasses import dataclass, replace

from experiment.errors import InputError
from multitask.data import Dataset, DatasetSplits, Sample

STRETCHES = 16  # neighbouring images, such as frames of one video, stay on one side


@dataclass(frozen=True)
class Part:
    """Some images of a dataset."""

    dataset: Dataset
    indices: list[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def hold_out(source: DatasetSplits, share: float) -> tuple[DatasetSplits, Part]:
    """The source with a part of its training images, and the others. Raises InputError if either has none."""
    dataset = source.splits["train"]
    kept, held_out = split(len(dataset), share)
    if not kept or not held_out:
        found = f"validation_fraction is {share}, which leaves {len(kept)} images to the weights"
        raise InputError(f"{found} and {len(held_out)} to the choice: expected some for both")
    return replace(source, splits={**source.splits, "train": Part(dataset, kept)}), Part(dataset, held_out)


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
