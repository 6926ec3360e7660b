"""Surface normals in the camera frame: x right, y up, z towards the camera."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from experiment.errors import InputError
from multitask import losses
from multitask.metrics.normals import NormalErrors
from multitask.tasks import pictures
from multitask.tasks.base import Task, mean_label, overall, percentage
from multitask.tasks.pictures import Array, Range


class Normals(Task):
    """L1 on the unit prediction; mean angle; 40 directions as label regions.

    cosine: 1 - cos of the angle in the place of L1 (Lopes et al., DenseMTL, WACV 2023);
    centroids: a .npy file of (R, 3) directions, such as NYUD-v2's; by default 40 even ones facing the camera.
    """

    name = "normals"
    label_channels = 3
    deviation_unit = "degrees"
    metrics = {
        "mean_angle": False,
        "median_angle": False,
        "within_11.25": True,
        "within_22.5": True,
        "within_30": True,
    }
    channels = 3
    loss_weight = 10.0

    def __init__(self, centroids: str | None = None, cosine: bool = False):
        self.error = losses.cosine_error if cosine else losses.absolute_error
        self.centroids = facing_directions(40) if centroids is None else _load_centroids(Path(centroids))
        self.region_count = len(self.centroids)

    def loss(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return self.error(F.normalize(prediction, dim=1), label, mask)

    def image_losses(self, prediction: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return self.error(F.normalize(prediction, dim=1), label, mask, per_image=True)

    def census(self, label: Tensor, mask: Tensor) -> Tensor:
        """The sum of the directions, and how many have a positive z."""
        directions = label.movedim(-3, -1)[mask.movedim(-3, -1)[..., 0]].double()
        return torch.cat([directions.sum(0), (directions[:, 2] > 0).sum().view(1)])

    def describe_census(self, sums: Tensor, valid: int, names: Sequence[str], width: int) -> str:
        x, y, z, facing = (sums / valid).tolist()
        return f"mean ({x:.2f}, {y:.2f}, {z:.2f}), z > 0 at {percentage(facing)}"

    def region_label(self, label: Tensor) -> Tensor:
        """The nearest centroid."""
        self.centroids = self.centroids.to(label.device)
        return torch.einsum("rc,bchw->brhw", self.centroids, label.float()).argmax(1, keepdim=True)

    def decode(self, prediction: Tensor) -> Tensor:
        return F.normalize(prediction.float(), dim=1)

    def metric(self) -> Metric:
        return NormalErrors()

    def prior(self, statistics: Tensor) -> Tensor:
        """The direction of the mean normal."""
        return F.normalize(mean_label(statistics), dim=1)

    def head_bias(self, statistics: Tensor) -> Tensor:
        return self.prior(overall(statistics)).flatten()

    def picture(self, values: Array, scale: Range) -> Array:
        return pictures.directions(values)

    def deviation(self, values: Array, label: Array) -> Array:
        """The angle between them."""
        return np.degrees(np.arccos((values.astype(np.float64) * label).sum(0).clip(-1, 1)))

    def rotate(self, label: Tensor, angle: Tensor) -> Tensor:
        """Turned about the optical axis."""
        x, y, z = label.split(1, 1)
        return torch.cat([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos(), z], 1)

    def flip(self, label: Tensor) -> Tensor:
        return torch.cat([-label[:, :1], label[:, 1:]], 1)


def facing_directions(count: int) -> Tensor:
    """`count` unit vectors spread evenly over the half sphere that faces the camera (Fibonacci lattice), (count, 3)."""
    z = (torch.arange(count) + 0.5) / count
    angle = torch.arange(count) * math.pi * (3 - math.sqrt(5))
    radius = (1 - z**2).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], 1)


def _load_centroids(path: Path) -> Tensor:
    try:
        centroids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"data.normal_centroids '{path}' cannot be read: expected a .npy file ({error})") from error
    if centroids.ndim != 2 or centroids.shape[1] != 3 or not len(centroids):
        raise InputError(f"data.normal_centroids '{path}' has shape {centroids.shape}: expected (R, 3)")
    real = np.issubdtype(centroids.dtype, np.floating) or np.issubdtype(centroids.dtype, np.integer)
    if not real or not np.isfinite(centroids).all() or not centroids.any(1).all():
        raise InputError(
            f"data.normal_centroids '{path}' holds {centroids.dtype} with no direction: expected finite vectors that "
            "are not 0"
        )
    return F.normalize(torch.from_numpy(centroids).float(), dim=1)
