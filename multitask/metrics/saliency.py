"""Maximal F measure over thresholds."""

import torch
from torch import Tensor
from torchmetrics import Metric


class MaxF(Metric):
    """max over 19 thresholds (.05 to .95) of F_beta with beta^2 = 0.3, counts pooled over the dataset (ATRC).

    A probability at the threshold is above it.
    """

    full_state_update = False

    hits: Tensor
    predicted: Tensor
    actual: Tensor

    def __init__(self, beta_squared: float = 0.3, thresholds: int = 19):
        super().__init__()
        self.beta_squared = beta_squared
        # single precision like the probabilities, so that a probability of 0.35 reaches the threshold 0.35
        steps = torch.arange(1, thresholds + 1, dtype=torch.double)
        self.thresholds: Tensor
        self.register_buffer("thresholds", (steps / (thresholds + 1)).float(), persistent=False)
        self.add_state("hits", torch.zeros(thresholds, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("predicted", torch.zeros(thresholds, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("actual", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, probability: Tensor, label: Tensor, mask: Tensor) -> None:
        """probability, label (0 or 1), mask: (B, 1, H, W)."""
        p, y = torch.where(mask, probability.float(), -1).flatten(), ((label > 0) & mask).flatten()
        above = p >= self.thresholds[:, None]
        self.hits += (above & y).sum(1)
        self.predicted += above.sum(1)
        self.actual += y.sum()

    def compute(self) -> dict[str, Tensor]:
        precision = self.hits / self.predicted.clamp_min(1)
        recall = self.hits / self.actual  # 0 / 0 without a salient pixel
        below = (self.beta_squared * precision + recall).clamp_min(1e-12)
        return {"max_f": ((1 + self.beta_squared) * precision * recall / below).max()}
