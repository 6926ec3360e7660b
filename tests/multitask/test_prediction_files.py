"""Predictions as files: the readers of data folders give back what was written."""

import numpy as np
import pytest
import torch
from PIL import Image

from experiment.config import DataSettings
from multitask.data.label_files import READERS
from multitask.data.prediction_files import WRITERS, pixels
from multitask.tasks import TASKS, build_tasks

CLASSES = 5
TOLERANCE = {"depth": 0.00051, "normals": 0.006}  # half a millimetre; half a step of 127


def values(name: str, task) -> np.ndarray:
    """(H, W, c), decoded, of random raw outputs; yes or no for edges, which labels are."""
    raw = 3 * torch.randn(1, task.channels, 12, 16, generator=torch.Generator().manual_seed(0))
    decoded = task.decode(raw.abs() if name == "depth" else raw)[0].numpy().transpose(1, 2, 0)
    return (decoded > 0.5).astype(np.float32) if name in ("edge", "saliency") else decoded


def test_each_task_has_a_writer():
    assert set(WRITERS) == set(READERS) == set(TASKS)


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_read(name, tmp_path):
    task = build_tasks([name], DataSettings(), CLASSES)[name]
    written = values(name, task)
    Image.fromarray(pixels(written, task)).save(tmp_path / "label.png")
    label, valid = READERS[name](tmp_path / "label.png", task)
    seen = written[..., 0] > 0.0005 if name == "depth" else np.ones((12, 16), bool)  # depth 0 is no label
    assert (valid == seen).all()
    assert np.abs(label - written)[seen].max() <= TOLERANCE.get(name, 0)
    assert label[seen].std() > 0


def test_many_classes_need_sixteen_bits():
    task = build_tasks(["semseg"], DataSettings(), 300)["semseg"]
    assert pixels(np.array([[[299], [0]]]), task).tolist() == [[300, 1]]


def test_what_is_too_far_for_the_file_is_as_far_as_it_holds():
    task = build_tasks(["depth"], DataSettings(), 0)["depth"]
    assert pixels(np.array([[[80.0], [1.5]]]), task).tolist() == [[65535, 1500]]
