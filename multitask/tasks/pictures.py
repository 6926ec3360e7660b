"""Labels and predictions as colours: decoded maps (c, H, W) to (H, W, 3) uint8. `Task.picture` chooses among them."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Range = tuple[float, float]  # of the label's valid values


def value_range(label: Array, mask: Array) -> Range:
    """Of the valid values of a label (c, H, W); mask: (1, H, W)."""
    valid = label[np.broadcast_to(mask, label.shape)]
    return (float(valid.min()), float(valid.max())) if valid.size else (0.0, 1.0)


@cache
def palette() -> Array:
    """60 colours, those that contrast most first, (60, 3)."""
    import matplotlib  # half a second, which a training need not wait for

    maps = [matplotlib.colormaps[f"tab20{kind}"].colors for kind in ("", "b", "c")]  # type: ignore[attr-defined]
    return np.concatenate(
        [(255 * np.array(colours)).astype(np.uint8)[start::2] for colours in maps for start in (0, 1)]
    )


def classes(values: Array, background: bool = False) -> Array:
    """background: whether class 0 is black."""
    colours = np.concatenate([np.zeros((1, 3), np.uint8), palette()]) if background else palette()
    return colours[values[0].astype(int) % len(colours)]


def grey(values: Array) -> Array:
    """Probabilities and yes-or-no labels; of several channels the largest."""
    return np.repeat((255 * values.max(0).clip(0, 1))[..., None], 3, 2).astype(np.uint8)


def scaled(values: Array, scale: Range) -> Array:
    """The first channel in viridis, over a range."""
    import matplotlib

    low, high = scale
    colours = matplotlib.colormaps["viridis"]((values[0] - low) / max(high - low, 1e-9))
    return (255 * colours[..., :3]).astype(np.uint8)


def directions(values: Array) -> Array:
    """(n + 1) / 2 as red, green and blue."""
    return colours((values + 1) / 2)


def colours(values: Array) -> Array:
    """Three channels in 0..1 as red, green and blue."""
    return (255 * values.transpose(1, 2, 0)).clip(0, 255).astype(np.uint8)
