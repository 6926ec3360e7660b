"""What a task is: all that the rest of the project knows about one kind of dense prediction."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from experiment.errors import InputError
from multitask import losses
from multitask.metrics.base import JoinedMetric, OwnMetric
from multitask.processes import not_sharing
from multitask.tasks import pictures
from multitask.tasks.pictures import Array, Range


class Task(ABC):
    """One dense prediction.

    channels: of the prediction; region_count: R of its auxiliary prediction (label regions);
    loss_weight: the published weight (ATRC, NYUD-v2 and PASCAL-Context), or that of a task of one's own;
    metrics: {name: whether higher is better}, the first being the primary one, which Delta_m compares.

    A task of one's own is built without arguments, and `read` reads its files.
    """

    name: ClassVar[str]
    label_channels: ClassVar[int] = 1
    label_suffix: ClassVar[str] = ".png"  # of its files in a folder, ROOT/NAME/ID.png
    balances_crops: ClassVar[bool] = False  # whether a crop that one of its classes fills is drawn again
    marks_lines: ClassVar[bool] = False  # whether the label is 1 on thin lines, which a smaller label must not lose
    metrics: ClassVar[Mapping[str, bool]]
    deviation_unit: ClassVar[str] = ""  # of `deviation`
    undefined: ClassVar[str] = "no valid pixel"  # why the metrics have no value, where `defines` finds no labels
    channels: int
    region_count: int
    loss_weight: float
    own_metrics: Sequence[type[OwnMetric]] = ()

    @property
    def primary(self) -> str:
        return next(iter(self.metrics))

    @abstractmethod
    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        """Of (B, channels, H, W) raw outputs against (B, label_channels, H, W); a scalar, by the means of losses.py."""

    def image_losses(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        """The loss of each image on its own, (B,)."""
        with not_sharing():
            return torch.stack(
                [self.loss(*image) for image in zip(prediction.split(1), label.split(1), mask.split(1), strict=True)]
            )

    @abstractmethod
    def region_label(self, label: Tensor) -> Tensor:
        """Which of the R regions each pixel belongs to: (B, label_channels, H, W) -> (B, 1, H, W) integer."""

    def region_loss(self, logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        """Of the auxiliary prediction, (B, R, H, W)."""
        return losses.cross_entropy(logits, self.region_label(label), mask)

    @abstractmethod
    def decode(self, prediction: Tensor) -> Tensor:
        """Raw outputs to the units of the label, as the metric takes them."""

    def scores(self, prediction: Tensor) -> Tensor:
        """What an exported network gives: as `decode`, but of classes the probability of each."""
        return self.decode(prediction)

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh metric: `update(decoded, label, mask)`, and `compute()` gives {name: value} for `metrics`.

        Values are NaN where `defines` holds of none of the labels.
        """

    def add_metric(self, kind: type[OwnMetric]) -> None:
        """Measures this too. Raises InputError for the name of a metric that it has."""
        twice = next((name for name in kind.metrics if name in self.metrics), None)
        if twice is not None:
            raise InputError(f"{kind.__qualname__} measures {twice}, which {self.name} has: expected another name")
        self.metrics = {**kind.metrics, **self.metrics} if kind.primary else {**self.metrics, **kind.metrics}  # type: ignore[misc]
        self.own_metrics = (*self.own_metrics, kind)

    def meter(self) -> Metric:
        """A fresh metric that gives all of `metrics`: `metric()`, and those that were added."""
        if not self.own_metrics:
            return self.metric()
        return JoinedMetric([self.metric(), *(kind() for kind in self.own_metrics)])

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """A file of a folder, ROOT/NAME/ID with `label_suffix`: the label, (H, W, label_channels), of its photo's size,
        and its validity, (H, W) bool. Raises InputError for a malformed file.

        The built-in tasks' files are read by multitask/data/label_files.py.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method read, which reads its label files")

    def defines(self, label: Tensor, mask: Tensor) -> bool:
        """Whether these labels alone give the metrics a value."""
        return bool(mask.any())

    def census(self, label: Tensor, mask: Tensor) -> Tensor:
        """Sums over the valid pixels of labels that `describe_census` puts into words, (n,); here none."""
        return torch.zeros(0)

    def describe_census(self, sums: Tensor, valid: int, names: Sequence[str], width: int) -> str:
        """What a person can judge labels by, in at most `width` characters.

        sums: `census` of all images, of so many valid pixels; names: of the classes, as far as they are known.
        """
        return ""

    def statistics(self, label: Tensor, mask: Tensor) -> Tensor:
        """What a prior is computed from: sums over images, so that those of several batches add up.

        (n, label_channels, H, W) -> (S, H, W); here the sum of the valid labels and, in the last channel, their number.
        """
        return torch.cat([torch.where(mask, label, 0).float().sum(0), mask.float().sum(0)])

    @abstractmethod
    def prior(self, statistics: Tensor) -> Tensor:
        """The best constant decoded prediction of each pixel: (S, H, W) -> (1, ..., H, W)."""

    def head_bias(self, statistics: Tensor) -> Tensor:
        """Raw outputs that decode to the prior over all pixels: (S, H, W) -> (channels,); here 0."""
        return torch.zeros(self.channels)

    def picture(self, values: Array, scale: Range) -> Array:
        """Decoded maps (c, H, W) as colours (H, W, 3) uint8; here the first channel.

        scale: what the darkest and the brightest colour stand for, where the values have no range of their own.
        """
        return pictures.scaled(values, scale)

    def deviation(self, values: Array, label: Array) -> Array:
        """How far decoded maps are from the label, pixel by pixel: two (c, H, W) -> (H, W); here the distance in the
        label's units. `deviation_unit` names them.
        """
        return np.sqrt(((values.astype(np.float64) - label) ** 2).sum(0))

    def rescale(self, label: Tensor, factor: Tensor) -> Tensor:
        """The label after the image was magnified by `factor` (B, 1, 1, 1)."""
        return label

    def rotate(self, label: Tensor, angle: Tensor) -> Tensor:
        """The label's values after a counter-clockwise rotation of the image by `angle` (B, 1, 1, 1), in radians."""
        return label

    def flip(self, label: Tensor) -> Tensor:
        """The label's values after a horizontal flip (its pixels are moved already)."""
        return label


def percentage(share: float) -> str:
    """0 to 1 as % with two digits, but never a little as 0."""
    value = 100 * share
    return "0 %" if value == 0 else "<0.1 %" if value < 0.1 else f"{value:.0f} %" if value >= 9.5 else f"{value:.1f} %"


def mean_label(statistics: Tensor) -> Tensor:
    """The mean of the valid labels: (S, H, W) of `Task.statistics` -> (1, S - 1, H, W)."""
    return (statistics[:-1] / statistics[-1:].clamp_min(1))[None]


def overall(statistics: Tensor) -> Tensor:
    """The statistics of all pixels together, (S, 1, 1)."""
    return statistics.sum((1, 2), keepdim=True)


def log_frequencies(shares: Tensor) -> Tensor:
    """log p of each class, with p at least 1e-4, so that a class missing from the statistics can still be learned."""
    return shares.clamp_min(1e-4).log()
