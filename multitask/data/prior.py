"""The training prior: the best constant predictions, which any trained network must beat.

Each task sums statistics of its training labels; they give the constant prediction of each pixel (the yardstick beside
every validation) and the bias with which the task's output head starts.
"""

from collections.abc import Mapping
from functools import cached_property

from torch import Tensor

from experiment.progress import track
from multitask.data.samples import Dataset
from multitask.metrics import Values, values_of
from multitask.tasks import Task

LABEL = "constant prediction"
LIMIT = 256  # training images that are read, spread evenly over the split


class Prior:
    """Computed from the labels of a dataset's training split when first needed, and kept.

    limit: largest number of training images that are read.
    """

    def __init__(self, splits: Mapping[str, Dataset], tasks: Mapping[str, Task], limit: int = LIMIT):
        self.splits, self.tasks, self.limit = splits, tasks, limit
        self._metrics: dict[str, Values] = {}

    @property
    def images(self) -> int:
        """The number of training images that are read."""
        return min(len(self.splits["train"]), self.limit)

    @cached_property
    def statistics(self) -> dict[str, Tensor]:
        """{task: (S, H, W)}: see `Task.statistics`."""
        train, count = self.splits["train"], self.images
        sums: dict[str, Tensor] = {}
        for i in track(range(count), LABEL):
            sample = train[i * len(train) // count]
            for name, task in self.tasks.items():
                statistics = task.statistics(sample["labels"][name][None], sample["masks"][name][None])
                sums[name] = sums[name] + statistics if name in sums else statistics
        return sums

    def head_biases(self) -> dict[str, Tensor]:
        """{task: (channels,)}: raw outputs that decode to the task's prior over all pixels."""
        return {name: task.head_bias(self.statistics[name]) for name, task in self.tasks.items()}

    def metrics(self, split: str) -> Values:
        """{task: {metric: value}} of the constant predictions on a split."""
        if split not in self._metrics:
            constants = {name: task.prior(self.statistics[name]) for name, task in self.tasks.items()}
            metrics = {name: task.meter() for name, task in self.tasks.items()}
            dataset = self.splits[split]
            for i in track(range(len(dataset)), f"{LABEL} on {split}"):
                sample = dataset[i]
                for name, metric in metrics.items():
                    metric.update(constants[name], sample["labels"][name][None], sample["masks"][name][None])
            self._metrics[split] = values_of(metrics)
        return self._metrics[split]
