"""Predictions as files, in the form in which a data folder holds labels: one writer per task, beside its reader.

A writer takes decoded maps, (H, W, c), and its task, and returns the pixels of a PNG.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitask.tasks import Task
from multitask.tasks.segmentation import ClassTask

Pixels = NDArray[Any]  # uint8 or uint16
FARTHEST = 2**16 - 1  # millimetres


def ids(maps: np.ndarray, task: Task) -> Pixels:
    """Class ids, from `task.first_id`; 16-bit where 8 do not hold them."""
    assert isinstance(task, ClassTask)
    values = maps[..., 0].astype(np.int64) + task.first_id
    return values.astype(np.uint8 if task.channels + task.first_id <= 2**8 else np.uint16)


def millimetres(maps: np.ndarray, task: Task) -> Pixels:
    """16-bit; what is farther than 65.5 m counts as this far."""
    return (1000 * maps[..., 0].astype(np.float64)).round().clip(0, FARTHEST).astype(np.uint16)


def directions(maps: np.ndarray, task: Task) -> Pixels:
    """n = (v - 127) / 127."""
    return (127 + 127 * maps).round().clip(0, 254).astype(np.uint8)


def probability(maps: np.ndarray, task: Task) -> Pixels:
    """0 to 255."""
    return (255 * maps[..., 0]).round().clip(0, 255).astype(np.uint8)


WRITERS: dict[str, Callable[[np.ndarray, Task], Pixels]] = {
    "semseg": ids,
    "depth": millimetres,
    "normals": directions,
    "edge": probability,
    "human_parts": ids,
    "saliency": probability,
}


def pixels(maps: np.ndarray, task: Task) -> Pixels | None:
    """Of the task's file; None where its values have no such form."""
    writer = WRITERS.get(task.name, ids if isinstance(task, ClassTask) else None)
    return None if writer is None else writer(maps, task)
