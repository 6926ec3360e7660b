"""Tasks with two classes per pixel: edges and saliency."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from multitask import losses
from multitask.metrics.boundary import BoundaryF
from multitask.metrics.saliency import MaxF
from multitask.tasks import pictures
from multitask.tasks.base import Task, log_frequencies, mean_label, overall, percentage
from multitask.tasks.pictures import Array, Range


class BinaryTask(Task):
    """The label is 1 on positive pixels, else 0."""

    positives: ClassVar[str]  # what they are called
    region_count = 2

    def defines(self, label: Tensor, mask: Tensor) -> bool:
        return bool(((label > 0) & mask).any())

    def census(self, label: Tensor, mask: Tensor) -> Tensor:
        """The number of positive pixels."""
        return ((label > 0) & mask).sum().view(1)

    def describe_census(self, sums: Tensor, valid: int, names: Sequence[str], width: int) -> str:
        return f"{percentage(float(sums[0]) / valid)} {self.positives}"

    def region_label(self, label: Tensor) -> Tensor:
        return label

    def prior(self, statistics: Tensor) -> Tensor:
        """The frequency of positives."""
        return mean_label(statistics)

    def picture(self, values: Array, scale: Range) -> Array:
        return pictures.grey(values)

    def log_frequencies(self, statistics: Tensor) -> Tensor:
        """Of negatives and positives over all pixels, (2,)."""
        share = mean_label(overall(statistics)).flatten()
        return log_frequencies(torch.cat([1 - share, share]))


class Edge(BinaryTask):
    """Instance boundaries: weighted BCE, boundary odsF.

    positive_weight: of edge pixels in the loss (ATRC: 0.8 on NYUD-v2, 0.95 on PASCAL-Context);
    tolerance: of the odsF matching, as a fraction of the image diagonal (0.011 and 0.0075).
    """

    name = "edge"
    positives = "edges"
    marks_lines = True
    metrics = {"ods_f": True}
    undefined = "no valid pixel is an edge"
    channels = 1
    loss_weight = 50.0

    def __init__(self, positive_weight: float = 0.8, tolerance: float = 0.011):
        self.positive_weight = positive_weight
        self.tolerance = tolerance

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.weighted_binary_cross_entropy(prediction, label, mask, self.positive_weight)

    def image_losses(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.weighted_binary_cross_entropy(prediction, label, mask, self.positive_weight, per_image=True)

    def region_loss(self, logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        share = torch.full((1,), self.positive_weight, device=logits.device)
        return losses.cross_entropy(logits, label, mask, torch.cat([1 - share, share]))

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.float().sigmoid()

    def metric(self) -> Metric:
        return BoundaryF(self.tolerance)

    def head_bias(self, statistics: Tensor) -> Tensor:
        """The log odds of an edge."""
        negative, positive = self.log_frequencies(statistics)
        return (positive - negative)[None]


class Saliency(BinaryTask):
    """Salient objects: balanced two-class cross-entropy, maximal F."""

    name = "saliency"
    positives = "salient"
    metrics = {"max_f": True}
    undefined = "no valid pixel is salient"
    channels = 2
    loss_weight = 5.0

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.balanced_cross_entropy(prediction, label, mask)

    def image_losses(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.balanced_cross_entropy(prediction, label, mask, per_image=True)

    def region_loss(self, logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.balanced_cross_entropy(logits, label, mask)

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.float().softmax(1)[:, 1:]

    def metric(self) -> Metric:
        return MaxF()

    def head_bias(self, statistics: Tensor) -> Tensor:
        return self.log_frequencies(statistics)
