"""Sums over valid pixels that do not wait for a GPU, as a choice by a mask and bincount do."""

import torch
from torch import Tensor


def count(index: Tensor, kept: Tensor, length: int) -> Tensor:
    """How often each of 0 to length - 1 occurs where `kept` holds, (length,); index, kept: of one shape."""
    places = torch.where(kept, index, length).flatten()
    return places.new_zeros(length + 1).scatter_add_(0, places, torch.ones_like(places))[:length]


def masked_sums(terms: list[Tensor], mask: Tensor) -> Tensor:
    """The sum of each of n terms over the mask, (n,); what lies outside it has no influence, NaN neither."""
    return torch.stack([torch.where(mask, term, 0).sum() for term in terms])
