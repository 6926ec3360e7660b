"""The label files of a data folder: one reader per task.

A reader takes a file and its task and returns the label, (H, W, label_channels), and its validity, (H, W) bool; it
raises InputError for a malformed file. To read another task's files, add a line to `READERS`; a data set that encodes
its labels differently has readers of its own.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiment.errors import InputError, one_line
from multitask.data.image_files import read_png
from multitask.tasks import Task

Label = tuple[np.ndarray, np.ndarray]
IGNORED_PART = 255
UNIT_TOLERANCE = 0.1  # of a normal's length; 8 bits move it by 0.02 at most


def read_semseg(path: Path, task: Task) -> Label:
    """8-bit class ids, of a palette the indices; 0 is ignored, 1..K are the classes."""
    ids = read_image(path, "8-bit class ids", ("L", "P"))
    if ids.max(initial=0) > task.channels:
        raise InputError(f"{path}: class id {ids.max()}, expected 0 (ignored) to {task.channels}")
    valid = ids > 0
    return np.where(valid, ids - 1, 0).astype(np.uint8)[..., None], valid


def read_human_parts(path: Path, task: Task) -> Label:
    """8-bit part ids, of a palette the indices; 0 is background, 255 is ignored."""
    ids = read_image(path, "8-bit part ids", ("L", "P"))
    valid = ids != IGNORED_PART
    if ids[valid].max(initial=0) >= task.channels:
        expected = f"0 to {task.channels - 1}, or {IGNORED_PART} (ignored)"
        raise InputError(f"{path}: part id {ids[valid].max()}, expected {expected}")
    return np.where(valid, ids, 0).astype(np.uint8)[..., None], valid


def read_depth(path: Path, task: Task) -> Label:
    """16-bit millimetres; 0 is invalid."""
    millimetres = read_image(path, "16-bit depth in millimetres", ("I;16", "I;16B", "I"))
    return millimetres.astype(np.float32)[..., None] / 1000, millimetres > 0


def read_normals(path: Path, task: Task) -> Label:
    """8-bit RGB, n = (v - 127) / 127, then normalised; vectors far from unit length, such as greys, are invalid.

    Raises InputError if most vectors are far from it and not grey, which another encoding explains.
    """
    pixels = read_image(path, "8-bit RGB normals", ("RGB",))
    normals = (pixels.astype(np.float32) - 127) / 127
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    valid = np.abs(length[..., 0] - 1) < UNIT_TOLERANCE
    grey = np.ptp(pixels, axis=-1) <= 1
    strange = np.mean(~valid & ~grey)
    if strange > 0.5:
        raise InputError(f"{path}: {strange:.0%} of its vectors are far from length 1, expected n = (v - 127) / 127")
    return np.where(valid[..., None], normals / np.maximum(length, 1e-6), 0), valid


def read_binary(path: Path, task: Task) -> Label:
    return read_binary_file(path)


def read_binary_file(path: Path) -> Label:
    """8-bit, 0 or 255; of a palette, the colours count, black or white."""
    image = read_png(path, "8-bit values 0 and 255", ("L", "1", "P"))
    if image.mode == "P":
        colours = np.array(image.convert("RGB"))
        strange = colours[(colours != 0).any(-1) & (colours != 255).any(-1)]
        if len(strange):
            raise InputError(f"{path}: its palette's colour {tuple(strange[0].tolist())}, expected black or white")
        values = colours[..., 0]
    else:
        values = np.array(image).astype(np.uint8)
    strange = np.setdiff1d(values, (0, 1, 255))
    if strange.size:
        raise InputError(f"{path}: value {strange[0]}, expected 0 or 255")
    return (values > 0).astype(np.uint8)[..., None], np.ones(values.shape, bool)


def read_own(path: Path, task: Task) -> Label:
    """By a user's task itself. Raises InputError where that fails, or gives no label."""
    method = f"{type(task).__qualname__}.read"
    try:
        label, valid = task.read(path)
        label, valid = np.asarray(label), np.asarray(valid)
    except InputError:
        raise
    except Exception as error:  # a user's method may fail in any way
        raise InputError(f"{path}: {method} fails ({type(error).__name__}: {one_line(error)})") from error
    if (
        label.ndim != 3
        or label.shape[2] != task.label_channels
        or valid.shape != label.shape[:2]
        or valid.dtype != bool
    ):
        found = f"a label of shape {label.shape} and {valid.dtype} {valid.shape}"
        raise InputError(f"{path}: {method} gives {found}, expected (H, W, {task.label_channels}) and bool (H, W)")
    return label.astype(np.float32) if label.dtype.kind == "f" else label, valid


READERS: dict[str, Callable[[Path, Task], Label]] = {
    "semseg": read_semseg,
    "depth": read_depth,
    "normals": read_normals,
    "edge": read_binary,
    "human_parts": read_human_parts,
    "saliency": read_binary,
}


def read_image(path: Path, kind: str, modes: tuple[str, ...]) -> np.ndarray:
    """A PNG as an array, of a palette the indices. Raises InputError for another kind of image."""
    return np.array(read_png(path, kind, modes))
