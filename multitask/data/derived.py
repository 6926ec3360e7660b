"""Labels that are worked out from other labels: normals from depth, edges from classes."""

from dataclasses import dataclass, replace

import numpy as np

LARGEST_STEP = 0.02  # of neighbours' depths, relative to the nearer; a larger one is a border of a surface
Label = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels of images of width x height; pixel i lies at index i."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def at(self, height: int, width: int) -> "Camera":
        """The camera of the image resized, whose pixels cover the same field of view."""
        x, y = width / self.width, height / self.height
        cx, cy = (self.cx + 0.5) * x - 0.5, (self.cy + 0.5) * y - 0.5
        return replace(self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=cx, cy=cy)


def normals_from_depth(depth: np.ndarray, valid: np.ndarray, camera: Camera) -> Label:
    """Unit normals (H, W, 3), x right, y up, z towards the camera, and where they are known, (H, W) bool.

    Each pixel's four neighbours make four triangles with it, whose unit normals are added. Unknown are pixels of the
    image's border, those with an invalid pixel among their eight neighbours, and those of whose four neighbours' depths
    two differ by more than 2 %.

    depth: (H, W) or (H, W, 1) metres along the optical axis; valid: (H, W) bool.
    """
    height, width = valid.shape
    z = depth.reshape(height, width).astype(np.float64)
    camera = camera.at(height, width)
    rows, columns = np.mgrid[:height, :width]
    points = np.stack([(columns - camera.cx) / camera.fx * z, (camera.cy - rows) / camera.fy * z, -z], -1)
    here = points[1:-1, 1:-1]
    around = [points[1:-1, 2:], points[:-2, 1:-1], points[1:-1, :-2], points[2:, 1:-1]]  # right, above, left, below
    total = np.zeros_like(here)
    for one, other in zip(around, [*around[1:], around[0]], strict=True):
        normal = _cross(one - here, other - here)
        total += normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    length = np.linalg.norm(total, axis=-1)
    total *= np.where((total * here).sum(-1, keepdims=True) > 0, -1, 1)  # towards the camera, which is the origin

    near = np.stack([z[1:-1, 2:], z[:-2, 1:-1], z[1:-1, :-2], z[2:, 1:-1], z[1:-1, 1:-1]])
    smooth = near.max(0) <= (1 + LARGEST_STEP) * near.min(0)
    whole = np.ones_like(smooth)
    for down in range(3):
        for right in range(3):
            whole &= valid[down : height - 2 + down, right : width - 2 + right]
    known = np.zeros(valid.shape, bool)
    known[1:-1, 1:-1] = whole & smooth & (length > 1e-6)
    normals = np.zeros((height, width, 3), np.float32)
    normals[1:-1, 1:-1] = total / np.maximum(length, 1e-12)[..., None]
    return np.where(known[..., None], normals, 0), known


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of vectors in the last axis; several times as fast as np.cross."""
    x, y, z = (a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1)))
    return np.stack([x, y, z], -1)


def edges_from_classes(classes: np.ndarray, valid: np.ndarray) -> Label:
    """(H, W, 1): 1 on both pixels of every change of class between horizontal or vertical neighbours.

    Pairs that touch an invalid pixel are no change; invalid pixels are not valid edges either.

    classes: (H, W) or (H, W, 1); valid: (H, W) bool.
    """
    ids = classes.reshape(valid.shape)
    edge = np.zeros(valid.shape, np.uint8)
    for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        change = (ids[before] != ids[after]) & valid[before] & valid[after]
        edge[before] |= change
        edge[after] |= change
    return edge[..., None], valid
