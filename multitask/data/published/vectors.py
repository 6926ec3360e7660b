"""Normals of files as unit vectors."""

from pathlib import Path

import numpy as np

from experiment.errors import InputError
from multitask.data.derived import Label

SHORTEST, LONGEST = 0.5, 1.5  # of a vector that is a direction; resizing has shortened some
ALMOST_NOTHING = 0.05  # the length of a zero vector in 8 bits is 0.01


def unit_vectors(vectors: np.ndarray, path: Path) -> Label:
    """(H, W, 3) to unit length, and (H, W) bool, False where there was no direction.

    Raises InputError if most of the vectors that are not zero are far from length 1.
    """
    length = np.linalg.norm(vectors, axis=-1)
    valid = (length > SHORTEST) & (length < LONGEST)
    strange = float(np.mean(~valid & (length > ALMOST_NOTHING)))
    if strange > 0.5:
        raise InputError(f"{path}: {strange:.0%} of its vectors are far from length 1, expected unit normals")
    return np.where(valid[..., None], vectors / np.maximum(length, 1e-6)[..., None], 0).astype(np.float32), valid
