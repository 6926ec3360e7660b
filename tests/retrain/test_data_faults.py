"""Data that a training must not begin with, and labels that its test split lacks."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from retrain.race.results import read_result
from tests.support.commands import assert_one_line, search
from tests.support.folders import write_folder
from tests.support.results import analyse
from tests.support.retraining import metrics, retrain

TINY = ("--training.iterations=2", "--training.batch_size=2", "--data.tasks=[depth, edge]", "--data.name=folder")


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "data")


def blank(root, task, split):
    for path in (root / task).glob(f"{split}_*.png"):
        Image.fromarray(np.zeros_like(np.array(Image.open(path)))).save(path)


@pytest.mark.parametrize("command", [search, lambda *rest: retrain(*rest, "--baseline=multi_task")])
@pytest.mark.parametrize("fault", ["test in train", "no depth in val"])
def test_refused_before_anything_is_written(root, tmp_path, command, fault):
    if fault == "test in train":
        path = root / "splits/train.txt"
        path.write_text(path.read_text() + "test_0\n")
        words = ("train and test share 1 image (test_0)", "expected test images that are not trained on")
    else:
        blank(root, "depth", "val")
        words = ("val has no labels of depth: no valid pixel in its 2 images",)
    done = command(*TINY, f"--data.root={root}", f"--output={tmp_path / 'run'}")
    assert_one_line(done, words)
    assert not (tmp_path / "run").exists()


def test_test_labels_that_are_missing_are_null_and_left_out(root, tmp_path, capsys):
    blank(root, "edge", "test")
    runs = [tmp_path / "base", tmp_path / "model"]
    for run, name in zip(runs, ("multi_task", "uniform:none"), strict=True):
        done = retrain(*TINY, f"--data.root={root}", f"--output={run}", f"--baseline={name}")
        assert done.returncode == 0
        (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning")]
        assert "test has no labels of edge: no valid pixel is an edge in its 2 images" in warning
        (row,) = [line for line in done.stdout.splitlines() if line.startswith("  edge ")]
        assert row.split()[2] == "-"
        found = metrics(run / "seed_0")
        for part in (found["tasks"], found["last"]["tasks"], found["prior"]):
            edge = part["edge"]["ods_f"]
            assert edge["value"] is None and edge["undefined"] == "no valid pixel is an edge"
        assert found["tasks"]["depth"]["rmse"]["value"] > 0 and found["images"] == 2
        assert found["validation"]["tasks"]["edge"]["ods_f"]["value"] is not None
        assert json.loads((run / "seed_0/prior.json").read_text())["metrics"]["test"]["edge"] == {"ods_f": None}
    raced = read_result(runs[1] / "seed_0")  # by what has a value
    assert raced.test == pytest.approx(-math.log(metrics(runs[1] / "seed_0")["tasks"]["depth"]["rmse"]["value"]))
    shown = analyse(capsys, "compare", "--baseline", *runs).out
    assert "warning: edge is left out: its metrics have no value (no valid pixel is an edge)" in shown
    assert "rmse" in shown and "ods_f" not in shown
