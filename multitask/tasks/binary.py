"""Tasks that ask one question of each pixel: is it an edge, does it stand out?"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from experiment.errors import InputError
from multitask import losses
from multitask.metrics.boundary import BoundaryF
from multitask.metrics.saliency import MaxF
from multitask.tasks.base import Task, read_image


class BinaryTask(Task):
    """Files: 8-bit, 0 or 255."""

    region_count = 2

    def region_label(self, label: Tensor) -> Tensor:
        return label

    def prior(self, labels: Tensor, mask: Tensor) -> Tensor:
        return (labels * mask).sum(0, keepdim=True) / mask.sum(0, keepdim=True).clamp_min(1)

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        values = read_image(path, "8-bit values 0 and 255", ("L", "1", "P")).astype(np.uint8)
        strange = np.setdiff1d(values, (0, 1, 255))
        if strange.size:
            raise InputError(f"{path}: value {strange[0]}, expected 0 or 255")
        return (values > 0).astype(np.uint8)[..., None], np.ones(values.shape, bool)


class Edge(BinaryTask):
    """Instance boundaries: weighted BCE, boundary odsF.

    positive_weight: of edge pixels in the loss (ATRC: 0.8 on NYUD-v2, 0.95 on PASCAL-Context);
    tolerance: of the odsF matching, as a fraction of the image diagonal (0.011 and 0.0075).
    """

    name = "edge"
    metrics = {"ods_f": True}
    channels = 1
    loss_weight = 50.0

    def __init__(self, positive_weight: float = 0.8, tolerance: float = 0.011):
        self.positive_weight = positive_weight
        self.tolerance = tolerance

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.weighted_binary_cross_entropy(prediction, label, mask, self.positive_weight)

    def region_loss(self, logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        share = torch.full((1,), self.positive_weight, device=logits.device)
        return losses.cross_entropy(logits, label, mask, torch.cat([1 - share, share]))

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.float().sigmoid()

    def metric(self) -> Metric:
        return BoundaryF(self.tolerance)


class Saliency(BinaryTask):
    """What stands out: balanced two-class cross-entropy, maximal F."""

    name = "saliency"
    metrics = {"max_f": True}
    channels = 2
    loss_weight = 5.0

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.balanced_cross_entropy(prediction, label, mask)

    def region_loss(self, logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return losses.balanced_cross_entropy(logits, label, mask)

    def decode(self, prediction: Tensor) -> Tensor:
        return prediction.float().softmax(1)[:, 1:]

    def metric(self) -> Metric:
        return MaxF()
