"""Images, labels and predictions as small PNGs that stand inside a page."""

import io
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import default_collate

from analysis.report.figures import png_uri
from multitask.data.samples import plain_batch
from multitask.tasks import Task
from multitask.tasks import pictures as pictures_of_tasks
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
    """{"images": {name: uri}, "tasks": {task: views}} for images spread over the split; views: [{"name": "label" or a
    network's, "picture": uri, "error": uri or None, "note": text}].

    The image's name is "image", or that of the task whose image it is. Errors of all networks share a scale.
    Images and labels are those of the first network; only the tasks that all of them have are shown.
    """
    first = next(iter(networks.values()))
    dataset = first.dataset.splits[split]
    count = min(count, len(dataset))
    chosen = [i * len(dataset) // count for i in range(count)]
    own = first.dataset.tasks
    tasks = {name: own[name] for name in own if all(name in one.dataset.tasks for one in networks.values())}
    return [_picture(networks, dataset[index], tasks) for index in chosen]


def legend(names: Sequence[str], shown: Sequence[int], first_id: int) -> list[tuple[str, str]]:
    """(colour, name) of the classes that are shown."""
    colours = pictures_of_tasks.classes(np.array([[list(shown)]]), background=first_id == 0)[0]
    return [("#" + bytes(colour).hex(), names[k]) for k, colour in zip(shown, colours) if k < len(names)]


def viridis() -> str:
    """A bar from the nearest to the farthest, as a PNG."""
    return data_uri(pictures_of_tasks.scaled(np.linspace(0, 1, 128)[None, None].repeat(4, 1), (0.0, 1.0)))


def looks(image: Array, maps: Array, points: Sequence[tuple[float, float]]) -> list[str]:
    """Each map (h, w) over the image (H, W, 3), dark where it is 0 and bright where it is largest, with a ring at its
    point, in shares of height and width.
    """
    return [_overlay(image, one / max(float(one.max()), 1e-12), point) for one, point in zip_longest(maps, points)]


def _overlay(image: Array, shares: Array, point: tuple[float, float] | None) -> str:
    size = (LARGEST, round(LARGEST * image.shape[0] / image.shape[1]))
    grey = np.asarray(Image.fromarray(image).convert("L").resize(size), np.float32)[..., None]
    share = np.asarray(Image.fromarray(shares.astype(np.float32)).resize(size, Image.Resampling.NEAREST))[..., None]
    bright = np.array([255, 176, 0], np.float32) * (0.8 + 0.2 * grey / 255)
    pixels = 0.5 * grey * (1 - share) + bright * share
    picture = Image.fromarray(pixels.astype(np.uint8))
    if point is not None:
        y, x = point[0] * size[1], point[1] * size[0]
        draw = ImageDraw.Draw(picture)
        for radius, colour in ((9, "black"), (8, "white"), (6, "black")):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour)
    return data_uri(np.asarray(picture))


@torch.inference_mode()
def _picture(networks: Mapping[str, Trained], sample: Mapping[str, Any], tasks: Mapping[str, Task]) -> dict[str, Any]:
    batch = plain_batch(default_collate([sample]), torch.device("cpu"))
    outputs = {name: one.network(batch.image, batch.valid).predictions for name, one in networks.items()}
    shown: dict[str, list[dict[str, Any]]] = {}
    for name, task in tasks.items():
        label, mask = batch.labels[name][0].numpy(), batch.masks[name][0].numpy()
        scale = value_range(label, mask)
        decoded = {network: task.decode(outputs[network][name])[0].numpy() for network in networks}
        errors = {network: np.where(mask[0], task.deviation(values, label), 0) for network, values in decoded.items()}
        largest = max(float(np.quantile(error, 0.98)) for error in errors.values()) or 1.0
        valid = max(1, int(mask.sum()))
        views = [{"name": "label", "picture": data_uri(render(task, label, scale, mask)), "error": None, "note": ""}]
        for network, values in decoded.items():
            mean = f"{errors[network].sum() / valid:.3g} {task.deviation_unit}".strip()
            views.append(
                {
                    "name": network,
                    "picture": data_uri(render(task, values, scale)),
                    "error": data_uri(_darkness(errors[network] / largest)),
                    "note": f"error {mean}",
                }
            )
        shown[name] = views
    image = sample["image"]
    images = image if isinstance(image, dict) else {"image": image}
    return {
        "images": {name: data_uri(one.permute(1, 2, 0).numpy()) for name, one in images.items()},
        "tasks": shown,
        "classes": {
            name: sorted(np.unique(label[0].numpy()[mask[0].numpy()]).astype(int).tolist())
            for name, label, mask in ((name, batch.labels[name], batch.masks[name]) for name in tasks)
            if not label.is_floating_point() and label.shape[1] == 1
        },
        "ranges": {
            name: value_range(batch.labels[name][0].numpy(), batch.masks[name][0].numpy())
            for name in tasks
            if batch.labels[name].is_floating_point() and batch.labels[name].shape[1] == 1
        },
    }


def _darkness(shares: Array) -> Array:
    """Errors of 0 to 1: white to red, (H, W) -> (H, W, 3)."""
    rest = (255 * (1 - shares.clip(0, 1)))[..., None]
    return np.concatenate([np.full_like(rest, 255) - 60 * shares.clip(0, 1)[..., None], rest, rest], 2).astype(np.uint8)
