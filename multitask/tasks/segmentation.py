"""Tasks that give each pixel one of K classes: semantic segmentation and human parts."""

from pathlib import Path

import numpy as np
from torch import Tensor
from torchmetrics import Metric

from experiment.errors import InputError
from multitask import losses
from multitask.metrics.segmentation import MeanIoU
from multitask.tasks.base import Task, frequencies, read_image


class ClassTask(Task):
    """Cross-entropy, mean IoU; the label regions are the classes."""

    metrics = {"mean_iou": True}

    def __init__(self, classes: int, loss_weight: float, skip_empty: bool):
        self.channels = self.region_count = classes
        self.loss_weight = loss_weight
        self.skip_empty = skip_empty

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.cross_entropy(prediction, label, mask)

    def region_label(self, label: Tensor) -> Tensor:
        return label

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.argmax(1, keepdim=True)

    def metric(self) -> Metric:
        return MeanIoU(self.channels, skip_empty=self.skip_empty)

    def prior(self, labels: Tensor, mask: Tensor) -> Tensor:
        return frequencies(labels, mask, self.channels).argmax(0)[None, None]


class SemanticSegmentation(ClassTask):
    """Files: 8-bit class ids; 0 is ignored, 1..K are the classes."""

    name = "semseg"
    balances_crops = True

    def __init__(self, classes: int, skip_empty: bool = False):
        super().__init__(classes, 1.0, skip_empty)

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        ids = read_image(path, "8-bit class ids", ("L", "P"))
        if ids.max(initial=0) > self.channels:
            raise InputError(f"{path}: class id {ids.max()}, expected 0 (ignored) to {self.channels}")
        valid = ids > 0
        return np.where(valid, ids - 1, 0).astype(np.uint8)[..., None], valid


class HumanParts(ClassTask):
    """Files: 8-bit part ids; 0 is background, 255 is ignored."""

    name = "human_parts"

    def __init__(self, skip_empty: bool = False):
        super().__init__(7, 2.0, skip_empty)

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        ids = read_image(path, "8-bit part ids", ("L", "P"))
        valid = ids != 255
        if ids[valid].max(initial=0) >= self.channels:
            raise InputError(f"{path}: part id {ids[valid].max()}, expected 0 to {self.channels - 1}, or 255 (ignored)")
        return np.where(valid, ids, 0).astype(np.uint8)[..., None], valid
