"""Tasks that give each pixel one of K classes: semantic segmentation and human parts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from multitask import losses
from multitask.metrics.segmentation import MeanIoU
from multitask.tasks import pictures
from multitask.tasks.base import Task, log_frequencies, overall, percentage
from multitask.tasks.pictures import Array, Range


class ClassTask(Task):
    """Cross-entropy, mean IoU; the label regions are the classes."""

    metrics = {"mean_iou": True}
    deviation_unit = "of the pixels"
    first_id = 0  # of the ids in files

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

    def scores(self, prediction: Tensor) -> Tensor:
        return prediction.float().softmax(1)

    def metric(self) -> Metric:
        return MeanIoU(self.channels, skip_empty=self.skip_empty)

    def census(self, label: Tensor, mask: Tensor) -> Tensor:
        """How often each class occurs, (K,)."""
        return torch.bincount(label[mask].long(), minlength=self.channels)

    def describe_census(self, sums: Tensor, valid: int, names: Sequence[str], width: int) -> str:
        """The commonest classes, as many as there is room for, and how many never occur."""
        counts = sums.tolist()
        never = counts.count(0)
        end = f"; {never} of {len(counts)} never" if never else ""
        text = ""
        for k in sorted((k for k in range(len(counts)) if counts[k]), key=lambda k: -counts[k]):
            name = names[k] if k < len(names) else f"class {k + self.first_id}"
            entry = f"{name[:20]} {percentage(counts[k] / valid)}"
            grown = f"{text}, {entry}" if text else entry
            if text and len(grown) + len(", ...") + len(end) > width:
                return f"{text}, ...{end}"
            text = grown
        return text + end

    def statistics(self, label: Tensor, mask: Tensor) -> Tensor:
        """How often each class occurs at each pixel, (K, H, W)."""
        return torch.stack([((label == k) & mask).sum((0, 1)) for k in range(self.channels)])

    def prior(self, statistics: Tensor) -> Tensor:
        """The most frequent class."""
        return statistics.argmax(0)[None, None]

    def head_bias(self, statistics: Tensor) -> Tensor:
        counts = overall(statistics).flatten()
        return log_frequencies(counts / counts.sum().clamp_min(1))

    def picture(self, values: Array, scale: Range) -> Array:
        return pictures.classes(values, background=self.first_id == 0)

    def deviation(self, values: Array, label: Array) -> Array:
        """1 where the class is wrong."""
        return (values[0] != label[0]).astype(np.float64)


class SemanticSegmentation(ClassTask):
    """The classes of a dataset."""

    name = "semseg"
    first_id = 1
    balances_crops = True

    def __init__(self, classes: int, skip_empty: bool = False):
        super().__init__(classes, 1.0, skip_empty)


class HumanParts(ClassTask):
    """Background and six body parts."""

    name = "human_parts"

    def __init__(self, skip_empty: bool = False):
        super().__init__(7, 2.0, skip_empty)
