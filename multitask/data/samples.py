"""The samples that datasets give, and the batches that networks take."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

Sample = dict[str, Any]  # image: (3, H, W) uint8; labels: {task: (c, H, W)}; masks: {task: (1, H, W) bool}

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as pretrained backbones expect
STD = (0.229, 0.224, 0.225)


class Dataset(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass
class Batch:
    """image: (B, 3, H, W) normalised; valid: (B, 1, H, W), False on padding; labels, masks: per task."""

    image: Tensor
    valid: Tensor
    labels: dict[str, Tensor]
    masks: dict[str, Tensor]


def normalise(image: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 by ImageNet's statistics."""
    mean, std = _statistics(image.device)
    return (image - mean) / std


@lru_cache
@torch.inference_mode(False)  # cached tensors must serve autograd later, wherever they were first needed
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """On the device, where they are sent once."""
    return torch.tensor(MEAN, device=device).view(3, 1, 1), torch.tensor(STD, device=device).view(3, 1, 1)


def plain_batch(sample: Sample, device: torch.device) -> Batch:
    """A collated sample without augmentation."""
    move = {key: {t: v.to(device, non_blocking=True) for t, v in sample[key].items()} for key in ("labels", "masks")}
    image = normalise(sample["image"].to(device, non_blocking=True).float() / 255)
    return Batch(image, torch.ones_like(image[:, :1], dtype=torch.bool), move["labels"], move["masks"])
