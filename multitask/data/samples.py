"""The samples that datasets give, and the batches that networks take."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from multitask.sending import send

# image: (3, H, W) uint8, or {task: (3, H, W)}, one for each; labels: {task: (c, H, W)}; masks: {task: (1, H, W) bool}
Sample = dict[str, Any]
Image = Tensor | dict[str, Tensor]  # of all tasks, or of each

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as pretrained backbones expect
STD = (0.229, 0.224, 0.225)


class Dataset(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass
class Batch:
    """image: (B, 3, H, W) normalised, or {task: (B, 3, H, W)}, one for each; valid: (B, 1, H, W), False on padding;
    labels, masks: per task.
    """

    image: Image
    valid: Tensor
    labels: dict[str, Tensor]
    masks: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.valid.shape[2:]
        return height, width


def normalise(image: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 by ImageNet's statistics."""
    mean, std = _statistics(image.device)
    # of an image that lies channels last in memory, the backward pass of torch 2.14's narrow convolutions overruns it
    return ((image - mean) / std).contiguous()


@lru_cache
@torch.inference_mode(False)  # cached tensors must serve autograd later, wherever they were first needed
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """On the device, where they are sent once."""
    mean, std = (send(torch.tensor(values), device).view(3, 1, 1) for values in (MEAN, STD))
    return mean, std


def plain_batch(sample: Sample, device: torch.device) -> Batch:
    """A collated sample without augmentation."""
    move = {key: {t: v.to(device, non_blocking=True) for t, v in sample[key].items()} for key in ("labels", "masks")}
    image = each_image(lambda one, _: normalise(one), images_on(sample, device))
    valid = torch.ones_like(first_image(image)[:, :1], dtype=torch.bool)
    return Batch(image, valid, move["labels"], move["masks"])


def images_on(sample: Sample, device: torch.device) -> Image:
    """The images of a collated sample on the device, in 0..1."""
    return each_image(lambda one, _: one.to(device, non_blocking=True).float() / 255, sample["image"])


def first_image(image: Image) -> Tensor:
    """The image of all tasks, or that of the first; all have the same size."""
    return image if isinstance(image, Tensor) else next(iter(image.values()))


def each_image(change: Callable[[Tensor, str], Tensor], image: Image) -> Image:
    """The image of all tasks changed, or that of each; `change` also gets the task, or '' for the image of all."""
    if isinstance(image, Tensor):
        return change(image, "")
    return {task: change(one, task) for task, one in image.items()}
