"""Angles between unit normals, in degrees, over all valid pixels of the dataset."""

import torch
from torch import Tensor
from torchmetrics import Metric

from multitask.metrics.counting import count, masked_sums

BINS = 18_000  # hundredths of a degree: the median's resolution


class NormalErrors(Metric):
    """Mean and median angle, and the share of pixels within 11.25, 22.5 and 30 degrees.

    The median of an even number of pixels is the mean of the two middle angles, to 0.005 degrees.
    """

    full_state_update = False

    sums: Tensor
    histogram: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(5, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("histogram", torch.zeros(BINS, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, label: Tensor, mask: Tensor) -> None:
        """predicted, label: (B, 3, H, W) unit vectors; mask: (B, 1, H, W)."""
        a, b = predicted.double(), label.double()
        # exact for small angles too, where acos of the product is not
        angle = torch.rad2deg(2 * torch.atan2((a - b).norm(dim=1, keepdim=True), (a + b).norm(dim=1, keepdim=True)))
        shares = [(angle < limit).double() for limit in (11.25, 22.5, 30)]
        self.sums += masked_sums([torch.ones_like(angle), angle, *shares], mask)
        self.histogram += count((angle * BINS / 180).long().clamp(0, BINS - 1), mask, BINS).sum(0)

    def compute(self) -> dict[str, Tensor]:
        _, mean, narrow, medium, wide = self.sums / self.sums[0]  # 0 / 0 without a pixel
        below = self.histogram.cumsum(0)
        middle = ((below * 2 < below[-1]).sum() + (below * 2 <= below[-1]).sum()) / 2  # the same bin for odd counts
        return {
            "mean_angle": mean,
            "median_angle": ((middle + 0.5) * 180 / BINS).where(below[-1] > 0, torch.nan),
            "within_11.25": narrow,
            "within_22.5": medium,
            "within_30": wide,
        }
