"""What a dataset holds: every problem of its files and splits, and a summary that shows labels read the wrong way."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from experiment.errors import InputError
from experiment.progress import track
from multitask.data.samples import Dataset
from multitask.data.split_checks import repeated_images
from multitask.tasks import Task

WIDTH = 100  # characters of a line
HEADER = f"  {'task':<12} {'valid':>7} {'images':>7}  labels"


@dataclass
class DataReport:
    """problems: what must be mended; warnings: what may be meant; summary: a few lines a split; layout: of files."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)
    layout: list[str] = field(default_factory=list)


@dataclass
class Examined:
    """One image: (width, height), labels (c, H, W) and masks (1, H, W) of the tasks that could be read, and a line for
    each that could not.
    """

    size: tuple[int, int] | None
    labels: dict[str, Tensor]
    masks: dict[str, Tensor]
    problems: list[str]


def examine(samples: Dataset, index: int) -> Examined:
    """By the split's own `examine`, which names all faults of an image's files, or else from its sample."""
    own = getattr(samples, "examine", None)
    if own is not None:
        return own(index)
    try:
        sample = samples[index]
    except InputError as error:
        return Examined(None, {}, {}, [str(error)])
    height, width = next(iter(sample["masks"].values())).shape[1:]
    return Examined((width, height), sample["labels"], sample["masks"], [])


class TaskCensus:
    """Sums over the labels of a task: its pixels, the valid ones, the images that define its metrics."""

    def __init__(self, task: Task):
        self.task = task
        self.pixels = self.valid = self.images = 0
        self.sums: Tensor | None = None

    def add(self, label: Tensor, mask: Tensor) -> None:
        sums = self.task.census(label, mask)
        self.sums = sums if self.sums is None else self.sums + sums
        self.pixels += mask.numel()
        self.valid += int(mask.sum())
        self.images += self.task.defines(label, mask)

    def line(self, names: Sequence[str]) -> str:
        valid = "-" if not self.pixels else f"{100 * self.valid / self.pixels:.1f} %"
        head = f"  {self.task.name:<12} {valid:>7} {self.images:>7}  "
        if self.sums is None or not self.valid:
            return f"{head}-"
        return head + self.task.describe_census(self.sums, self.valid, names, WIDTH - len(head))


def take_census(
    splits: Mapping[str, Dataset], tasks: Mapping[str, Task], names: Mapping[str, Sequence[str]]
) -> DataReport:
    """Reads every label of the splits. names: {task: those of its classes}, as far as they are known."""
    report = DataReport()
    errors, report.warnings = repeated_images(splits)
    seen: set[str] = set()  # problems
    for split, samples in splits.items():
        sizes: Counter[tuple[int, int]] = Counter()
        censuses = {name: TaskCensus(task) for name, task in tasks.items()}
        unreadable = Counter[str]()
        for index in track(range(len(samples)), f"reading {split}"):
            with torch.inference_mode():
                found = examine(samples, index)
                for name in found.labels:
                    censuses[name].add(found.labels[name], found.masks[name])
            # of a folder that many labels lack, once
            report.problems += [problem for problem in found.problems if problem not in seen]
            seen.update(found.problems)
            unreadable.update(name for name in tasks if name not in found.labels)
            if found.size is not None:
                sizes[found.size] += 1
        for name, task in tasks.items():
            if not censuses[name].images and not unreadable[name]:
                reason = f"{task.undefined} in its {len(samples)} images"
                report.problems.append(f"{split} has no labels of {name}: {reason}")
        report.summary += [
            f"{split}: {len(samples)} images, {_sizes(sizes)}",
            HEADER,
            *(census.line(names.get(name, ())) for name, census in censuses.items()),
        ]
    report.problems += errors
    return report


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    shown = [f"{width}x{height}" for (width, height), _ in sizes.most_common(3)]
    more = f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else ""
    return f"{', '.join(shown)}{more} pixels" if shown else "none readable"
