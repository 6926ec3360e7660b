"""Predictions on disk: each task's files in the form of a data folder, arrays, and pictures for people.

DIR/TASK/NAME.png           as in a data folder: class ids, millimetres, directions, probabilities
DIR/TASK/NAME.npy           float32 in units: metres, unit vectors (H, W, 3), probabilities; none of class ids
DIR/TASK/legend.csv         of classes: id, name, colour
DIR/pictures/TASK/NAME.png  in colour
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from experiment.files import replacing, write_atomic
from multitask.data.prediction_files import pixels
from multitask.tasks import Task
from multitask.tasks.segmentation import ClassTask

PICTURES = "pictures"


def write_prediction(folder: Path, name: str, task: Task, maps: Tensor) -> None:
    """maps: decoded, (c, H, W). Every file is written whole or not at all."""
    values = maps.cpu().numpy()
    array = values.transpose(1, 2, 0)
    image = pixels(array, task)
    if image is not None:
        _write_image(folder / task.name / f"{name}.png", image)
    if not isinstance(task, ClassTask):
        array = array.astype(np.float32)
        with replacing(folder / task.name / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, array[..., 0] if array.shape[2] == 1 else array)
    scale = (float(values.min()), float(values.max()))
    _write_image(folder / PICTURES / task.name / f"{name}.png", task.picture(values, scale))


def write_legend(folder: Path, task: ClassTask, names: Sequence[str]) -> None:
    """legend.csv: the id, name and colour, #RRGGBB, of each class."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("id", "name", "colour"))
    for k in range(task.channels):
        red, green, blue = task.picture(np.full((1, 1, 1), k), (0.0, 1.0))[0, 0]
        name = names[k] if k < len(names) else f"class {k + task.first_id}"
        table.writerow((k + task.first_id, name, f"#{red:02x}{green:02x}{blue:02x}"))
    write_atomic(folder / task.name / "legend.csv", text.getvalue())


def _write_image(path: Path, pixels: np.ndarray) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        Image.fromarray(pixels).save(file, "PNG")
