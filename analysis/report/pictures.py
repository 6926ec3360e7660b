"""Images, labels and predictions as small PNGs that stand inside a page."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import default_collate

from analysis.report.figures import png_uri
from multitask.data.samples import plain_batch
from retrain.loading import Trained

LARGEST = 320  # pixels of width
Array = NDArray[Any]
Range = tuple[float, float]  # of the label's valid values


# 60 colours, those that contrast most first
PALETTE = np.concatenate(
    [(255 * np.array(matplotlib.colormaps[f"tab20{kind}"].colors)).astype(np.uint8)[start::2]  # type: ignore[attr-defined]
     for kind in ("", "b", "c") for start in (0, 1)]
)  # fmt: skip
BACKGROUND = np.zeros((1, 3), np.uint8)


def _classes(values: Array, scale: Range) -> Array:
    return PALETTE[values[0].astype(int) % len(PALETTE)]


def _parts(values: Array, scale: Range) -> Array:
    """Class 0 is the background."""
    return np.concatenate([BACKGROUND, PALETTE])[values[0].astype(int) % (len(PALETTE) + 1)]


def _grey(values: Array, scale: Range) -> Array:
    """Probabilities and yes-or-no labels."""
    return np.repeat((255 * values[0].clip(0, 1))[..., None], 3, 2).astype(np.uint8)


def _scaled(values: Array, scale: Range) -> Array:
    """One channel in viridis, over the label's range."""
    low, high = scale
    colours = matplotlib.colormaps["viridis"]((values[0] - low) / max(high - low, 1e-9))
    return (255 * colours[..., :3]).astype(np.uint8)


def _directions(values: Array, scale: Range) -> Array:
    """(n + 1) / 2 as red, green and blue."""
    return (255 * (values.transpose(1, 2, 0) + 1) / 2).clip(0, 255).astype(np.uint8)


# decoded maps (c, H, W) to colours (H, W, 3); a task that is not listed has its first channel shown over its range
RENDERERS: dict[str, Callable[[Array, Range], Array]] = {
    "semseg": _classes,
    "human_parts": _parts,
    "depth": _scaled,
    "normals": _directions,
    "edge": _grey,
    "saliency": _grey,
}


def render(task: str, values: Array, scale: Range, mask: Array | None = None) -> Array:
    """(H, W, 3), or (H, W, 4), transparent outside the mask (1, H, W)."""
    colours = RENDERERS.get(task, _scaled)(values, scale)
    return colours if mask is None else np.concatenate([colours, 255 * mask[0, ..., None].astype(np.uint8)], 2)


def data_uri(pixels: Array) -> str:
    """A PNG that needs no file."""
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return png_uri(buffer.getvalue())


def pictures(networks: Mapping[str, Trained], count: int, split: str = "test") -> list[dict[str, Any]]:
    """{"images": {name: uri}, "tasks": {task: {"label" or a network's name: uri}}} for images spread over the split.

    The image's name is "image", or that of the task whose image it is.
    Images and labels are those of the first network; only the tasks that all of them have are shown.
    """
    first = next(iter(networks.values()))
    dataset = first.dataset.splits[split]
    count = min(count, len(dataset))
    chosen = [i * len(dataset) // count for i in range(count)]
    tasks = [name for name in first.dataset.tasks if all(name in one.dataset.tasks for one in networks.values())]
    return [_picture(networks, dataset[index], tasks) for index in chosen]


@torch.inference_mode()
def _picture(networks: Mapping[str, Trained], sample: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    batch = plain_batch(default_collate([sample]), torch.device("cpu"))
    outputs = {name: one.network(batch.image, batch.valid).predictions for name, one in networks.items()}
    shown: dict[str, dict[str, str]] = {}
    for task in tasks:
        label, mask = batch.labels[task][0].numpy(), batch.masks[task][0].numpy()
        valid = label[np.broadcast_to(mask, label.shape)]
        scale = (float(valid.min()), float(valid.max())) if valid.size else (0.0, 1.0)
        shown[task] = {"label": data_uri(render(task, label, scale, mask))}
        for name, one in networks.items():
            decoded = one.dataset.tasks[task].decode(outputs[name][task])[0].numpy()
            shown[task][name] = data_uri(render(task, decoded, scale))
    image = sample["image"]
    images = image if isinstance(image, dict) else {"image": image}
    return {"images": {name: data_uri(one.permute(1, 2, 0).numpy()) for name, one in images.items()}, "tasks": shown}
