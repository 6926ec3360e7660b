"""What a task is: all that the rest of the project may ask about one kind of dense prediction."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchmetrics import Metric

from experiment.errors import InputError
from multitask import losses


class Task(ABC):
    """One dense prediction.

    channels: of the prediction; region_count: R of its auxiliary prediction (label regions);
    loss_weight: the published weight (ATRC, NYUD-v2 and PASCAL-Context);
    metrics: {name: whether higher is better}, the first being the primary one, which Delta_m compares;
    suffix: of its files in a data folder.
    """

    name: ClassVar[str]
    label_channels: ClassVar[int] = 1
    balances_crops: ClassVar[bool] = False  # whether a crop that one of its classes fills is drawn again
    suffix: ClassVar[str] = ".png"
    metrics: ClassVar[Mapping[str, bool]]
    channels: int
    region_count: int
    loss_weight: float

    @property
    def primary(self) -> str:
        return next(iter(self.metrics))

    @abstractmethod
    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        """Of (B, channels, H, W) raw outputs against (B, label_channels, H, W); a scalar."""

    @abstractmethod
    def region_label(self, label: Tensor) -> Tensor:
        """Which of the R regions each pixel belongs to: (B, label_channels, H, W) -> (B, 1, H, W) integer."""

    def region_loss(self, logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        """Of the auxiliary prediction, (B, R, H, W)."""
        return losses.cross_entropy(logits, self.region_label(label), mask)

    @abstractmethod
    def decode(self, prediction: Tensor) -> Tensor:
        """Raw outputs to the units of the label, as the metric takes them."""

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh metric: `update(decoded, label, mask)`, and `compute()` gives {name: value} for `metrics`."""

    @abstractmethod
    def prior(self, labels: Tensor, mask: Tensor) -> Tensor:
        """The best constant decoded prediction per pixel: (n, label_channels, H, W) -> (1, ..., H, W)."""

    def rescale(self, label: Tensor, factor: Tensor) -> Tensor:
        """The label after the image was magnified by `factor` (B, 1, 1, 1)."""
        return label

    def flip(self, label: Tensor) -> Tensor:
        """The label's values after a horizontal flip (its pixels are moved already)."""
        return label

    @abstractmethod
    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """A label file as (H, W, label_channels) and its (H, W) validity. Raises InputError if malformed."""


def read_image(path: Path, kind: str, modes: tuple[str, ...]) -> np.ndarray:
    """A PNG as an array. Raises InputError for another kind of image."""
    try:
        with Image.open(path) as image:
            if image.mode not in modes:
                raise InputError(f"{path}: a {image.mode} image, expected {kind}")
            return np.array(image)
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def frequencies(classes: Tensor, mask: Tensor, count: int) -> Tensor:
    """How often each class occurs per pixel: (n, 1, H, W) -> (count, H, W)."""
    return torch.stack([((classes == k) & mask).sum((0, 1)) for k in range(count)])
