"""What --check-data finds and sums up, against numpy on the files themselves."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from experiment.config import DataSettings
from multitask.data import check_data
from multitask.data.census import WIDTH
from multitask.tasks import TASKS as ALL
from multitask.tasks import build_tasks
from multitask.tasks.base import percentage
from tests.support.commands import assert_one_line, search
from tests.support.folders import TASKS, H, W, write_folder

SPLITS = {"train": 3, "val": 2, "test": 2}


def settings_of(root, tasks=TASKS):
    return DataSettings(name="folder", root=str(root), height=48, width=64, workers=0, tasks=list(tasks))


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "data")


def files(root, task, split):
    return np.stack([np.array(Image.open(root / task / f"{split}_{i}.png")) for i in range(SPLITS[split])])


def lines_of(report, split):
    """{task: its line}, of the file's own size."""
    start = next(i for i, line in enumerate(report.summary) if line.startswith(f"{split}:"))
    assert report.summary[start] == f"{split}: {SPLITS[split]} images, {W}x{H} pixels"
    return {line.split()[0]: line for line in report.summary[start + 2 : start + 2 + len(TASKS)]}


def test_a_summary_of_each_split_says_what_numpy_says(root):
    report = check_data(settings_of(root))
    assert report.problems == report.warnings == []
    assert len(report.summary) == 3 * (2 + len(TASKS)) and max(map(len, report.summary)) <= WIDTH
    for split, count in SPLITS.items():
        lines = lines_of(report, split)
        ids, depth = files(root, "semseg", split), files(root, "depth", split)
        assert lines["semseg"].split()[1] == f"{100 * (ids > 0).mean():.1f}"
        for k, name in enumerate("abc", 1):
            assert f"{name} {percentage((ids[ids > 0] == k).mean())}" in lines["semseg"]
        metres = depth[depth > 0] / 1000
        assert f"{metres.min():.2f} to {metres.max():.2f} m" in lines["depth"]
        median = float(lines["depth"].split("median ")[1].split(",")[0])
        assert median == pytest.approx(np.median(metres), abs=0.011)
        assert f"{percentage((files(root, 'edge', split) > 0).mean())} edges" in lines["edge"]
        assert f"{percentage((files(root, 'saliency', split) > 0).mean())} salient" in lines["saliency"]
        parts = files(root, "human_parts", split)
        assert lines["human_parts"].split()[1] == f"{100 * (parts != 255).mean():.1f}"
        normals = files(root, "normals", split).astype(float) - 127
        mean = (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).reshape(-1, 3).mean(0)
        found = lines["normals"].split("(")[1].split(")")[0].split(", ")
        assert [float(x) for x in found] == pytest.approx(mean, abs=0.006)
        assert all(line.split()[3 if "%" in line[:25] else 2] == str(count) for line in lines.values())


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 2**32), share=st.floats(0.01, 1), width=st.integers(10, 67), classes=st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_a_census_adds_up_and_its_text_fits(name, seed, share, width, classes):
    task = build_tasks([name], DataSettings(), classes)[name]
    draw = torch.Generator().manual_seed(seed)
    high = task.channels if name in ("semseg", "human_parts") else 2
    label = torch.randint(high, (4, task.label_channels, 6, 8), generator=draw)
    label = label.float() * 700 if name in ("depth", "normals") else label.to(torch.uint8)
    mask = torch.rand(4, 1, 6, 8, generator=draw) < share
    mask[0, 0, 0, 0] = True
    parts = [task.census(label[i], mask[i]) for i in range(4)]
    assert torch.equal(sum(parts), task.census(label, mask))
    other = torch.where(mask, label, torch.ones_like(label))
    assert torch.equal(task.census(other, mask), task.census(label, mask))
    text = task.describe_census(sum(parts), int(mask.sum()), ["a name that is long"] * classes, width)
    assert text and "\n" not in text and "nan" not in text
    assert len(text) <= max(width, 70 if name not in ("semseg", "human_parts") else 50)


def test_files_that_cannot_be_read_leave_the_rest_of_the_summary(root):
    (root / "depth/train_0.png").unlink()
    (root / "images/train_1.jpg").write_bytes(b"nothing")
    report = check_data(settings_of(root))
    assert len(report.problems) == 2 and "depth/train_0.png" in report.problems[0]
    assert report.summary[0] == f"train: 3 images, {W}x{H} pixels"
    assert report.summary[3].split()[3] == "1"  # depth
    assert report.summary[2].split()[3] == "2"  # semseg


def blank(root, task, split):
    for path in (root / task).glob(f"{split}_*.png"):
        nothing = 255 if task == "human_parts" else 0
        Image.fromarray(np.full_like(np.array(Image.open(path)), nothing)).save(path)


@pytest.mark.parametrize("split", SPLITS)
def test_splits_without_labels_are_problems(root, split):
    for task in TASKS:
        blank(root, task, split)
    found = check_data(settings_of(root)).problems
    assert len(found) == len(TASKS)
    for task, line in zip(TASKS, found, strict=True):
        reason = {"edge": "no valid pixel is an edge", "saliency": "no valid pixel is salient"}
        assert (
            line
            == f"{split} has no labels of {task}: {reason.get(task, 'no valid pixel')} in its {SPLITS[split]} images"
        )


def test_repeated_images_are_problems_and_those_of_val_and_test_a_warning(root):
    shutil.copy(root / "splits/val.txt", root / "splits/test.txt")
    report = check_data(settings_of(root, ["depth"]))
    assert report.problems == [] and "val and test share 2 images (val_0, val_1)" in report.warnings[0]
    (root / "splits/train.txt").write_text("train_0\nval_1\ntrain_0\n")
    report = check_data(settings_of(root, ["depth"]))
    words = ("train holds 1 image (train_0) twice", "train and val share 1 image", "train and test share 1 image")
    assert [line[: len(start)] for line, start in zip(report.problems, words, strict=True)] == list(words)


def test_the_command_prints_summary_problems_warnings_and_their_number(root):
    shutil.copy(root / "splits/val.txt", root / "splits/test.txt")
    arguments = ("--check-data", "--data.name=folder", f"--data.root={root}", "--data.tasks=[depth, edge]")
    done = search(*arguments)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ROOT/images/ID.jpg") and any(line.startswith("train: 3 images") for line in lines)
    assert lines[-2].startswith("warning: val and test share")
    assert lines[-1] == "0 problems"
    blank(root, "edge", "val")  # which is the test split too
    done = search(*arguments)
    assert_one_line(done, ["the data has 2 problems, listed above"])
    assert done.stdout.splitlines()[-1] == "2 problems"


def test_built_in_data_are_summed_up_too():
    done = search("--check-data", "--data.test_images=2", "--data.tasks=[semseg, depth, normals, edge]")
    assert done.returncode == 0 and done.stdout.splitlines()[0] == "train: 6 images, 48x32 pixels"
    assert "wall" in done.stdout and "0 problems" in done.stdout
