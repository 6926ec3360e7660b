"""Arrays in files other than images: NumPy's .npy, MATLAB's .mat, and PNGs of 16 bits a channel."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiment.errors import InputError, one_line
from multitask.data.derived import Label


def read_npy(path: Path, shape: Sequence[int | None]) -> np.ndarray:
    """A .npy file of real, finite numbers. Raises InputError for another shape; None stands for any length."""
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged header raises many kinds
        raise InputError(f"{path}: cannot be read as a .npy file ({one_line(error)})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(f"{path}: holds {getattr(array, 'dtype', type(array).__name__)}, expected real numbers")
    if array.ndim != len(shape) or any(e not in (None, n) for e, n in zip(shape, array.shape)):
        expected = ", ".join("any" if e is None else str(e) for e in shape)
        raise InputError(f"{path}: has shape {array.shape}, expected ({expected})")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path}: holds numbers that are not finite")
    return array


def read_map(path: Path) -> np.ndarray:
    """A .npy file of one value a pixel, (H, W) or (H, W, 1), as (H, W)."""
    try:
        return read_npy(path, (None, None, 1))[..., 0]
    except InputError as error:
        if "has shape" not in str(error):
            raise
        return read_npy(path, (None, None))


def read_metres(path: Path) -> Label:
    """Depth of a .npy file in metres, where 0 is invalid."""
    metres = read_map(path).astype(np.float32)
    if metres.min(initial=0) < 0:
        raise InputError(f"{path}: depth {metres.min():.3g}, expected metres of at least 0")
    return metres[..., None], metres > 0


def read_mat(path: Path, key: str) -> Any:
    """A variable of a MATLAB file. Raises InputError if it cannot be read or has no such variable."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = loadmat(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # SciPy raises many kinds on a damaged file
        raise InputError(f"{path}: cannot be read as a MATLAB file ({one_line(error)})") from error
    if key not in content:
        raise InputError(f"{path}: has no variable {key}, expected one")
    return content[key]


def read_wide_png(path: Path) -> np.ndarray:
    """A PNG of 16 bits a channel, (H, W, channels) uint16. Pillow would keep the upper 8 bits of several channels."""
    from torchvision.io import ImageReadMode, decode_image  # type: ignore[import-untyped]

    data = np.fromfile(path, np.uint8)
    try:
        if data[:8].tobytes() != b"\x89PNG\r\n\x1a\n":
            raise ValueError("no PNG")
        image = decode_image(torch.from_numpy(data), ImageReadMode.UNCHANGED)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as an image ({one_line(error)})") from error
    if image.dtype != torch.uint16:
        raise InputError(f"{path}: has 8 bits a channel, expected 16")
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0))
