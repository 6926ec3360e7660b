"""Images, labels and predictions as small PNGs that stand inside a page."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate

from analysis.report.figures import png_uri
from multitask.data.samples import plain_batch
from multitask.tasks import Task
from multitask.tasks.pictures import Array, Range, value_range
from retrain.loading import Trained

LARGEST = 320  # pixels of width


def render(task: Task, values: Array, scale: Range, mask: Array | None = None) -> Array:
    """(H, W, 3), or (H, W, 4), transparent outside the mask (1, H, W)."""
    colours = task.picture(values, scale)
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
    own = first.dataset.tasks
    tasks = {name: own[name] for name in own if all(name in one.dataset.tasks for one in networks.values())}
    return [_picture(networks, dataset[index], tasks) for index in chosen]


@torch.inference_mode()
def _picture(networks: Mapping[str, Trained], sample: Mapping[str, Any], tasks: Mapping[str, Task]) -> dict[str, Any]:
    batch = plain_batch(default_collate([sample]), torch.device("cpu"))
    outputs = {name: one.network(batch.image, batch.valid).predictions for name, one in networks.items()}
    shown: dict[str, dict[str, str]] = {}
    for name, task in tasks.items():
        label, mask = batch.labels[name][0].numpy(), batch.masks[name][0].numpy()
        scale = value_range(label, mask)
        shown[name] = {"label": data_uri(render(task, label, scale, mask))}
        for network in networks:
            decoded = task.decode(outputs[network][name])[0].numpy()
            shown[name][network] = data_uri(render(task, decoded, scale))
    image = sample["image"]
    images = image if isinstance(image, dict) else {"image": image}
    return {"images": {name: data_uri(one.permute(1, 2, 0).numpy()) for name, one in images.items()}, "tasks": shown}
