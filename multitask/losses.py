"""Losses over the valid pixels of a batch. Every mask is (B, 1, H, W) bool; a batch without valid pixels costs 0."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, 1, H, W) values over the mask; ignored values, NaN too, have no influence."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)


def cross_entropy(logits: Tensor, classes: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """logits (B, K, H, W), classes (B, 1, H, W) integer; `weight` (K,) multiplies each pixel's loss by its class's."""
    safe = torch.where(mask, classes, 0).long()
    losses = F.cross_entropy(logits, safe.squeeze(1), reduction="none").unsqueeze(1)
    if weight is not None:
        losses = losses * weight.to(losses)[safe]
    return masked_mean(losses, mask)


def balanced_cross_entropy(logits: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """Two-class cross-entropy (B, 2, H, W) in which either class counts by the other's share of the batch."""
    share = masked_mean(positive.float(), mask)
    return cross_entropy(logits, positive, mask, torch.stack([share, 1 - share]))


def weighted_binary_cross_entropy(logits: Tensor, positive: Tensor, mask: Tensor, positive_weight: float) -> Tensor:
    """w BCE on positives, 1 - w on negatives, mean over valid pixels; logits and labels (B, 1, H, W)."""
    target = positive.to(logits.dtype)
    weight = positive_weight * target + (1 - positive_weight) * (1 - target)
    losses = F.binary_cross_entropy_with_logits(logits, target.clamp(0, 1), reduction="none")
    return masked_mean(weight * losses, mask)


def absolute_error(prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """L1 per pixel, summed over channels: (B, C, H, W)."""
    return masked_mean((prediction - label).abs().sum(1, keepdim=True), mask)
