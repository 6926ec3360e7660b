"""Tasks that give each pixel one of K classes: semantic segmentation and human parts."""

import torch
from torch import Tensor
from torchmetrics import Metric

from multitask import losses
from multitask.metrics.segmentation import MeanIoU
from multitask.tasks.base import Task, log_frequencies, overall


class ClassTask(Task):
    """Cross-entropy, mean IoU; the label regions are the classes."""

    metrics = {"mean_iou": True}

    def __init__(self, classes: int, loss_weight: float, skip_empty: bool):
        self.channels = self.region_count = classes
        self.loss_weight = loss_weight
        self.skip_empty = skip_empty

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.cross_entropy(prediction, label, mask)

    def image_losses(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.cross_entropy(prediction, label, mask, per_image=True)

    def region_label(self, label: Tensor) -> Tensor:
        return label

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.argmax(1, keepdim=True)

    def metric(self) -> Metric:
        return MeanIoU(self.channels, skip_empty=self.skip_empty)

    def statistics(self, label: Tensor, mask: Tensor) -> Tensor:
        """How often each class occurs at each pixel, (K, H, W)."""
        return torch.stack([((label == k) & mask).sum((0, 1)) for k in range(self.channels)])

    def prior(self, statistics: Tensor) -> Tensor:
        """The most frequent class."""
        return statistics.argmax(0)[None, None]

    def head_bias(self, statistics: Tensor) -> Tensor:
        counts = overall(statistics).flatten()
        return log_frequencies(counts / counts.sum().clamp_min(1))


class SemanticSegmentation(ClassTask):
    """The classes of a dataset."""

    name = "semseg"
    balances_crops = True

    def __init__(self, classes: int, skip_empty: bool = False):
        super().__init__(classes, 1.0, skip_empty)


class HumanParts(ClassTask):
    """Background and six body parts."""

    name = "human_parts"

    def __init__(self, skip_empty: bool = False):
        super().__init__(7, 2.0, skip_empty)
