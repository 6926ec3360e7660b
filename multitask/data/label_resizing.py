"""Labels at another size, whose values are never mixed."""

import numpy as np


def resize_nearest(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, c) to (height, width, c): the pixel at each cell's centre, so that no values mix."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip((height, width), maps.shape[:2], strict=True)
    )
    return maps[rows[:, None], columns]


def resize_lines(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, c) of 0 and 1 to (height, width, c): 1 where any part of a positive pixel lies in the cell."""
    for axis, new in enumerate((height, width)):
        old = maps.shape[axis]
        first = np.arange(new) * old // new
        behind = -(-(np.arange(new) + 1) * old // new)
        before = np.insert(np.cumsum(maps, axis, dtype=np.int64), 0, 0, axis)  # the positive pixels before each
        maps = (before.take(behind, axis) > before.take(first, axis)).astype(maps.dtype)
    return maps
