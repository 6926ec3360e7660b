"""Depth along the optical axis, in metres."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from multitask import losses
from multitask.metrics.depth import DepthErrors
from multitask.tasks.base import Task, mean_label, overall

CENTIMETRES = 2**16  # of a census; what is farther counts as this far
NEAR, FAR = 0.7, 10.0  # metres: the range of the logarithmic bins (ATRC, NYUD-v2)
LARGEST_INVERSE = 2**16  # that of a point at the camera


class Depth(Task):
    """L1; RMSE and the usual ratios; 40 logarithmic bins as label regions.

    limit: metres up to which the metrics count pixels, by default all.
    """

    name = "depth"
    deviation_unit = "m"
    metrics = {
        "rmse": False,
        "absolute_relative": False,
        "delta_1": True,
        "delta_2": True,
        "delta_3": True,
        "si_log_rmse": False,
    }
    channels = 1
    region_count = 40
    loss_weight = 1.0

    def __init__(self, limit: float | None = None):
        self.limit = limit

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.absolute_error(prediction, label, mask)

    def image_losses(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.absolute_error(prediction, label, mask, per_image=True)

    def census(self, label: Tensor, mask: Tensor) -> Tensor:
        """How often each depth occurs, in whole centimetres."""
        nearest = (100 * label[mask].double()).round().long().clamp(0, CENTIMETRES - 1)
        return torch.bincount(nearest, minlength=CENTIMETRES)

    def describe_census(self, sums: Tensor, valid: int, names: Sequence[str], width: int) -> str:
        ranks = torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0], dtype=torch.double) * (valid - 1)
        low, first, median, last, high = (torch.searchsorted(sums.cumsum(0), ranks.floor(), right=True) / 100).tolist()
        return f"{low:.2f} to {high:.2f} m, median {median:.2f}, 98 % within {first:.2f} to {last:.2f}"

    def region_label(self, label: Tensor) -> Tensor:
        """floor(40 ln(y / 0.7) / ln(10 / 0.7)), clamped to 0..39."""
        position = (label.clamp_min(1e-6) / NEAR).log() / math.log(FAR / NEAR)
        return (position * self.region_count).floor().clamp(0, self.region_count - 1).long()

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.float().clamp_min(0)

    def metric(self) -> Metric:
        return DepthErrors(self.limit)

    def prior(self, statistics: Tensor) -> Tensor:
        """The mean depth."""
        return mean_label(statistics)

    def head_bias(self, statistics: Tensor) -> Tensor:
        return mean_label(overall(statistics)).flatten()

    def rescale(self, label: Tensor, factor: Tensor) -> Tensor:
        """What looks twice as large stands at half the distance."""
        return label / factor


class InverseDepth(Depth):
    """The network predicts D = 65536 / (centimetres + 1); reversed Huber loss. Lopes et al., DenseMTL, WACV 2023.

    Labels and metrics stay in metres.
    """

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.berhu(prediction, _inverse(label), mask)

    def image_losses(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.berhu(prediction, _inverse(label), mask, per_image=True)

    def decode(self, prediction: Tensor) -> Tensor:
        """D below 1, which no depth of 16 bits has, counts as 1: 655.35 m."""
        return (LARGEST_INVERSE / prediction.float().clamp(1, LARGEST_INVERSE) - 1) / 100

    def head_bias(self, statistics: Tensor) -> Tensor:
        return _inverse(super().head_bias(statistics))


def _inverse(metres: Tensor) -> Tensor:
    return LARGEST_INVERSE / (100 * metres.clamp_min(0) + 1)
