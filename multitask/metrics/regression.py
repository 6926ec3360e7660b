"""Errors of continuous values, over all channels of all valid pixels of the dataset."""

import torch
from torch import Tensor
from torchmetrics import Metric

from multitask.metrics.counting import masked_sums


class RegressionErrors(Metric):
    """Root of the mean squared error, and mean absolute error, in the label's units."""

    full_state_update = False

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(3, dtype=torch.double), dist_reduce_fx="sum")  # count, squared, absolute

    def update(self, predicted: Tensor, label: Tensor, mask: Tensor) -> None:
        """predicted, label: (B, c, H, W); mask: (B, 1, H, W)."""
        error = predicted.double() - label.double()
        self.sums += masked_sums([torch.ones_like(error), error**2, error.abs()], mask)

    def compute(self) -> dict[str, Tensor]:
        _, squared, absolute = self.sums / self.sums[0]  # 0 / 0 without a pixel
        return {"rmse": squared.sqrt(), "mean_error": absolute}
