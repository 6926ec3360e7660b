"""A trained network as a function from photos to predictions: normalisation, size and units inside."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiment.errors import InputError
from multitask.backbones import encoder_reductions
from multitask.data.samples import Image, each_image, first_image
from multitask.network import MultiTaskNetwork, check_network
from multitask.resizing import resize
from multitask.tasks import Task
from retrain.interface import Interface
from retrain.loading import SeparateNetworks


@dataclass(frozen=True)
class Fit:
    """How a photo comes to the size (H, W) that a network takes: resized to `content`, then padded to `whole`."""

    content: tuple[int, int]
    whole: tuple[int, int]


class Predictor(nn.Module):
    """tasks: {task: what its head predicts}; classes: {task: names}, as far as the data named them; images: {task: kind
    of its own image}, empty where all tasks see one photo; size: (H, W) of the images of the training.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: MultiTaskNetwork | SeparateNetworks,
        tasks: Mapping[str, Task],
        size: tuple[int, int],
        of: Interface,
    ):
        super().__init__()
        self.network = network
        self.tasks = dict(tasks)
        self.size = size
        self.classes = {name: tuple(names) for name, names in of.classes.items()}
        self.images = dict(of.images)
        self.register_buffer("mean", torch.tensor(of.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(of.std).view(3, 1, 1), persistent=False)
        self.fit = lru_cache(maxsize=256)(self._fit)
        self.requires_grad_(False).eval()

    def forward(self, images: Image, valid: Tensor | None = None) -> dict[str, Tensor]:
        """Images of a size that the network takes, (B, 3, H, W) in 0..1, or {task: images} where each task has its own
        -> raw predictions {task: (B, channels, H, W)}; valid: (B, 1, H, W) bool, False on padding.
        """
        return self.network(each_image(lambda one, _: (one - self.mean) / self.std, images), valid).predictions

    @torch.inference_mode()
    def predict(self, images: Image, *, native: bool = False) -> dict[str, Tensor]:
        """Predictions at the images' size, {task: (B, c, H, W)}: class ids from 0, depth in metres, unit normals,
        probabilities of edges and salient pixels.

        images: (B, 3, H, W), uint8 or floats in 0..1, in RGB; or {task: images}, all of one size. They are resized, in
        their shape, to as many pixels as the training's images have; `native` leaves them as they are.

        Raises InputError for other images, and for a size that the network cannot take.
        """
        self._check(images)
        height, width = first_image(images).shape[2:]
        fit = self.fit(height, width, native)
        (h, w), decoded = fit.content, {}
        valid = None
        if fit.whole != fit.content:
            valid = torch.zeros(len(first_image(images)), 1, *fit.whole, dtype=torch.bool, device=self.mean.device)
            valid[..., :h, :w] = True
        raw = self(each_image(lambda one, _: self._prepare(one, fit), images), valid)
        for name in list(raw):  # one after the other, so that the large maps of one task are in memory
            decoded[name] = self.tasks[name].decode(resize(raw.pop(name)[..., :h, :w], (height, width)))
        return decoded

    def resized(self, images: Tensor) -> Tensor:
        """Images as `predict` gives them to the network, (B, 3, h, w) in 0..1; with padding, where it needs some."""
        return self._prepare(images, self.fit(images.shape[2], images.shape[3], False))

    def _prepare(self, images: Tensor, fit: Fit) -> Tensor:
        images = images.to(self.mean.device)
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        if tuple(images.shape[2:]) != fit.content:  # as the data's images are resized
            images = F.interpolate(images, size=fit.content, mode="bilinear", antialias=True).clamp(0, 1)
        bottom, right = fit.whole[0] - fit.content[0], fit.whole[1] - fit.content[1]
        return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images

    def _check(self, images: Image) -> None:
        if isinstance(images, Mapping) and set(images) != set(self.tasks):
            raise InputError(f"images for {', '.join(images)}: expected one for each of {', '.join(self.tasks)}")
        given = list(images.values()) if isinstance(images, Mapping) else [images]
        for one in given:
            if one.ndim != 4 or one.shape[1] != 3 or one.shape != given[0].shape or not one.numel():
                raise InputError(f"images of shape {tuple(one.shape)}: expected (B, 3, H, W), the same of all tasks")
            if one.dtype != torch.uint8 and not (one.is_floating_point() and one.min() >= 0 and one.max() <= 1):
                raise InputError(f"images of {one.dtype} with other values: expected uint8, or floats in 0..1")

    def _fit(self, height: int, width: int, native: bool) -> Fit:
        scale = 1.0 if native else math.sqrt(self.size[0] * self.size[1] / (height * width))
        content = (max(1, round(scale * height)), max(1, round(scale * width)))
        stride = self.stride
        padded = tuple(-(-max(length, stride) // stride) * stride for length in content)
        for whole in (content, padded):
            if self._takes(whole):
                return Fit(content, (whole[0], whole[1]))
        if not native:  # a network of one size alone: the photo within that size
            scale = min(self.size[0] / height, self.size[1] / width)
            content = (max(1, int(scale * height)), max(1, int(scale * width)))
            return Fit(content, self.size)
        raise InputError(f"the network takes no photos of {width}x{height} pixels: expected them without native size")

    @property
    def stride(self) -> int:
        """How many pixels one element of the encoder's coarsest map spans."""
        return max(encoder_reductions(self._network.settings))

    @property
    def _network(self) -> MultiTaskNetwork:
        if isinstance(self.network, SeparateNetworks):
            return next(iter(self.network.networks.values()))  # type: ignore[return-value]
        return self.network

    def _takes(self, size: Sequence[int]) -> bool:
        if tuple(size) == self.size:
            return True
        try:
            check_network(self._network.settings, self._network.tasks, size[0], size[1])
        except InputError:
            return False
        return True
