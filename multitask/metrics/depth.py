"""Errors of depth in metres, over all valid pixels of the dataset."""

import torch
from torch import Tensor
from torchmetrics import Metric

from multitask.metrics.counting import masked_sums


class DepthErrors(Metric):
    """RMSE, mean |p - y| / y, share of max(p/y, y/p) < 1.25^k, and 100 sqrt(Var(ln p - ln y)) (SI-logRMSE).

    limit: metres; farther pixels do not count, and predictions end there.
    """

    full_state_update = False

    sums: Tensor

    def __init__(self, limit: float | None = None) -> None:
        super().__init__()
        self.limit = limit
        # count, squared error, relative error, three shares, log ratio and its square
        self.add_state("sums", torch.zeros(8, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, label: Tensor, mask: Tensor) -> None:
        """predicted (clamped at 0), label: (B, 1, H, W) metres; mask: (B, 1, H, W)."""
        if self.limit is not None:
            mask = mask & (label < self.limit)
            predicted = predicted.clamp_max(self.limit)
        p, y = (torch.where(mask, maps, 1).double() for maps in (predicted, label))
        positive = p.clamp_min(1e-3)  # a millimetre, where a ratio or a logarithm is taken
        ratio = torch.maximum(positive / y, y / positive)
        log_ratio = positive.log() - y.log()
        shares = [(ratio < 1.25**k).double() for k in (1, 2, 3)]
        terms = [torch.ones_like(p), (p - y) ** 2, (p - y).abs() / y, *shares, log_ratio, log_ratio**2]
        self.sums += masked_sums(terms, mask)

    def compute(self) -> dict[str, Tensor]:
        _, squared, relative, one, two, three, log_ratio, log_squared = (
            self.sums / self.sums[0]
        )  # 0 / 0 without a pixel
        return {
            "rmse": squared.sqrt(),
            "absolute_relative": relative,
            "delta_1": one,
            "delta_2": two,
            "delta_3": three,
            "si_log_rmse": 100 * (log_squared - log_ratio**2).clamp_min(0).sqrt(),
        }
