"""Mean intersection over union."""

import torch
from torch import Tensor
from torchmetrics import Metric

from multitask.metrics.counting import count


class MeanIoU(Metric):
    """From the confusion matrix of the whole dataset.

    Classes that occur neither in labels nor in predictions count 0 (ATRC, Vandenhende), or are left out of the mean
    with `skip_empty` (DenseMTL, BMTAS).
    """

    full_state_update = False

    confusion: Tensor

    def __init__(self, classes: int, skip_empty: bool = False):
        super().__init__()
        self.classes = classes
        self.skip_empty = skip_empty
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, label: Tensor, mask: Tensor) -> None:
        """predicted, label, mask: (B, 1, H, W)."""
        cell = label.long() * self.classes + predicted.long()
        self.confusion += count(cell, mask, self.classes**2).sum(0).view(self.classes, self.classes)

    def compute(self) -> dict[str, Tensor]:
        hits = self.confusion.diag().double()
        union = self.confusion.sum(0) + self.confusion.sum(1) - hits
        iou = hits / union.clamp_min(1)
        classes = (union > 0).sum() if self.skip_empty else self.classes  # an empty one adds 0
        return {"mean_iou": (iou.sum() / classes).where(union.any(), torch.nan)}
