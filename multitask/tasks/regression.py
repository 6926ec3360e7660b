"""The base of tasks that predict continuous values, such as albedo."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from multitask import losses
from multitask.metrics.regression import RegressionErrors
from multitask.tasks import pictures
from multitask.tasks.base import Task, mean_label, overall
from multitask.tasks.pictures import Array, Range


class Regression(Task):
    """L1; rmse and mean error; as label regions 40 even bins of the mean over channels, from `low` to `high`.

    A task of one's own sets `name`, `label_channels`, which are the prediction's too, the range of its values, and
    `read`.
    """

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    metrics = {"rmse": False, "mean_error": False}
    region_count = 40
    loss_weight = 1.0

    def __init__(self) -> None:
        self.channels = self.label_channels

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.absolute_error(prediction, label, mask)

    def region_label(self, label: Tensor) -> Tensor:
        share = (label.float().mean(1, keepdim=True) - self.low) / (self.high - self.low)
        return (share * self.region_count).floor().clamp(0, self.region_count - 1).long()

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.float().clamp(self.low, self.high)

    def metric(self) -> Metric:
        return RegressionErrors()

    def prior(self, statistics: Tensor) -> Tensor:
        """The mean label."""
        return mean_label(statistics)

    def head_bias(self, statistics: Tensor) -> Tensor:
        return mean_label(overall(statistics)).flatten()

    def census(self, label: Tensor, mask: Tensor) -> Tensor:
        """The sum of the values, over all channels."""
        return torch.where(mask, label, 0).double().sum().view(1) / self.label_channels

    def describe_census(self, sums: Tensor, valid: int, names: object, width: int) -> str:
        return f"mean {float(sums[0]) / valid:.3g}, expected {self.low:g} to {self.high:g}"

    def picture(self, values: Array, scale: Range) -> Array:
        """Three channels as a colour, another number by the first."""
        shares = (values - self.low) / (self.high - self.low)
        return pictures.colours(shares) if len(values) == 3 else pictures.scaled(shares, (0.0, 1.0))
