"""Losses over the valid pixels of a batch. Every mask is (B, 1, H, W) bool; without valid pixels the loss is 0.

Of several processes, the means of a batch are over the images of all (multitask/processes.py).

per_image: whether the mean is taken over each image's pixels, (B,), instead of over those of the whole batch, ().
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from multitask.processes import largest, summed


def masked_mean(values: Tensor, mask: Tensor, per_image: bool = False) -> Tensor:
    """Mean of (B, 1, H, W) values over the mask; ignored values, NaN too, have no influence."""
    dims = (1, 2, 3) if per_image else (0, 1, 2, 3)
    total, pixels = torch.where(mask, values, 0).sum(dims), mask.sum(dims)
    if not per_image:
        total, pixels = summed(total, pixels)
    return total / pixels.clamp_min(1)


def cross_entropy(
    logits: Tensor, classes: Tensor, mask: Tensor, weight: Tensor | None = None, per_image: bool = False
) -> Tensor:
    """logits (B, K, H, W), classes (B, 1, H, W) integer; `weight`, (K,) or (B, K), multiplies each pixel's loss by its
    class's weight.
    """
    safe = torch.where(mask, classes, 0).long()
    losses = F.cross_entropy(logits, safe.squeeze(1), reduction="none").unsqueeze(1)
    if weight is not None:
        weights = weight.to(losses).expand(len(logits), -1)
        losses = losses * weights.gather(1, safe.flatten(1)).view_as(losses)
    return masked_mean(losses, mask, per_image)


def balanced_cross_entropy(logits: Tensor, positive: Tensor, mask: Tensor, per_image: bool = False) -> Tensor:
    """Two-class cross-entropy (B, 2, H, W) in which either class is weighted by the other's share of the pixels that
    the mean is taken over.
    """
    share = masked_mean(positive.float(), mask, per_image)
    return cross_entropy(logits, positive, mask, torch.stack([share, 1 - share], -1), per_image)


def weighted_binary_cross_entropy(
    logits: Tensor, positive: Tensor, mask: Tensor, positive_weight: float, per_image: bool = False
) -> Tensor:
    """w BCE on positives, 1 - w on negatives, mean over valid pixels; logits and labels (B, 1, H, W)."""
    target = positive.to(logits.dtype)
    weight = positive_weight * target + (1 - positive_weight) * (1 - target)
    losses = F.binary_cross_entropy_with_logits(logits, target.clamp(0, 1), reduction="none")
    return masked_mean(weight * losses, mask, per_image)


def absolute_error(prediction: Tensor, label: Tensor, mask: Tensor, per_image: bool = False) -> Tensor:
    """L1 per pixel, summed over channels: (B, C, H, W)."""
    return masked_mean((prediction - label).abs().sum(1, keepdim=True), mask, per_image)


def cosine_error(prediction: Tensor, label: Tensor, mask: Tensor, per_image: bool = False) -> Tensor:
    """1 - cos of the angle between unit vectors, (B, 3, H, W)."""
    return masked_mean(1 - (prediction * label).sum(1, keepdim=True), mask, per_image)


def berhu(prediction: Tensor, label: Tensor, mask: Tensor, per_image: bool = False) -> Tensor:
    """Reversed Huber: |e| up to c, (e^2 + c^2) / 2c above, where c is a fifth of the largest |e|; (B, 1, H, W).

    As in the code of Lopes et al., DenseMTL, WACV 2023, the mean is over all pixels, of which invalid ones count 0.
    """
    error = torch.where(mask, (prediction - label).abs(), 0)
    most = error.detach().amax((1, 2, 3), keepdim=True)
    c = (0.2 * (most if per_image else largest(most.amax()))).clamp_min(torch.finfo(error.dtype).tiny)
    losses = torch.where(error <= c, error, (error**2 + c**2) / (2 * c))
    return masked_mean(losses, torch.ones_like(mask), per_image)
