"""Sums over valid pixels that do not wait for a GPU, as a choice by a mask and bincount do."""

import torch
from torch import Tensor

from multitask.determinism import any_algorithms


def count(index: Tensor, kept: Tensor, length: int) -> Tensor:
    """How often each of 0 to length - 1 occurs in each image where `kept` holds, (B, length); index, kept: (B, ...)."""
    places = torch.where(kept, index, length).flatten(1)
    # whole numbers have one sum; on CUDA the deterministic form goes through all equal indices one after another
    with any_algorithms():
        found = places.new_zeros(len(places), length + 1).scatter_add_(1, places, torch.ones_like(places))
    return found[:, :length]


def masked_sums(terms: list[Tensor], mask: Tensor) -> Tensor:
    """The sum of each of n terms over the mask, (n,); what lies outside it has no influence, NaN neither."""
    return torch.stack([torch.where(mask, term, 0).sum() for term in terms])
