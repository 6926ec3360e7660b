"""A metric without a pixel has no value: null in files, - in tables, never a number."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.metrics import values_of
from multitask.network import Outputs
from multitask.tasks import TASKS, build_tasks
from multitask.training.evaluation import describe, evaluate, primary_values, score, table, untrained
from multitask.training.finite import Diverged

CLASSES = 3
SIZE = (6, 8)


def all_tasks(**more):
    return build_tasks(list(TASKS), DataSettings(**more), CLASSES)


def label_of(task, draw, positive=True):
    """(2, c, H, W)"""
    if task.name == "depth":
        return 0.5 + torch.rand(2, 1, *SIZE, generator=draw)
    if task.name == "normals":
        return nn.functional.normalize(torch.randn(2, 3, *SIZE, generator=draw), dim=1)
    high = task.channels if task.name in ("semseg", "human_parts") else 2
    return torch.randint(high, (2, 1, *SIZE), generator=draw).to(torch.uint8) * positive


@pytest.mark.parametrize("empty_classes", ["zero", "skip"])
@pytest.mark.parametrize("name", TASKS)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.02, 0.5]), positive=st.booleans())
@settings(max_examples=30, deadline=None)
def test_values_exist_where_and_only_where_labels_define_them(name, empty_classes, seed, share, positive):
    task = all_tasks(empty_classes=empty_classes)[name]
    draw = torch.Generator().manual_seed(seed)
    label = label_of(task, draw, positive)
    mask = torch.rand(2, 1, *SIZE, generator=draw) < share
    metric = task.metric()
    for i in range(2):  # pixels of either image define it
        decoded = task.decode(torch.randn(1, task.channels, *SIZE, generator=draw))
        metric.update(decoded, label[i : i + 1], mask[i : i + 1])
    wanted = mask & (label[:, :1] > 0) if name in ("edge", "saliency") else mask
    values = values_of({name: metric})[name]
    assert task.defines(label, mask) == bool(wanted.any())
    assert all((value is not None) == bool(wanted.any()) for value in values.values())
    text = json.dumps(describe({name: values}, {name: task}), allow_nan=False)
    for metric_name, entry in json.loads(text)[name].items():
        assert ("undefined" in entry) == (entry["value"] is None)
        assert entry["higher_is_better"] == task.metrics[metric_name]


class Constant(nn.Module):
    def __init__(self, tasks, value=0.1):
        super().__init__()
        self.tasks, self.value = tasks, value

    def forward(self, image, valid):
        size = (len(image), 1, *image.shape[2:])
        return Outputs(
            {n: torch.full(size, self.value).expand(-1, t.channels, -1, -1) for n, t in self.tasks.items()}, {}
        )


def dataset(tasks, empty=()):
    """One image, without labels of some tasks."""
    draw = torch.Generator().manual_seed(0)
    labels = {name: label_of(task, draw)[0] for name, task in tasks.items()}
    masks = {name: torch.full((1, *SIZE), name not in empty) for name in tasks}
    return [{"image": torch.zeros(3, *SIZE, dtype=torch.uint8), "labels": labels, "masks": masks}]


@pytest.mark.parametrize("name", TASKS)
def test_evaluation_describes_tables_and_scores(name):
    tasks = all_tasks()
    found = evaluate(Constant(tasks), dataset(tasks, empty=[name]), tasks, 1, 0, torch.device("cpu"))
    assert set(found[name].values()) == {None}
    assert all(value is not None for other in tasks if other != name for value in found[other].values())
    entry = describe(found, tasks)[name][tasks[name].primary]
    assert entry["value"] is None and entry["undefined"] == tasks[name].undefined and entry["primary"]
    (line,) = [line for line in table(found, tasks, found).splitlines() if line.split()[0] == name]
    assert line.split()[2] == "-" and tasks[name].undefined in line
    assert name not in untrained(found, tasks, found)
    for refused in (primary_values, score):
        with pytest.raises(InputError, match=f"{name} has no {tasks[name].primary}: {tasks[name].undefined}"):
            refused(found, tasks)
    rest = {other: task for other, task in tasks.items() if other != name}
    assert math.isfinite(score(found, rest))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", TASKS)
def test_predictions_that_are_not_finite_are_no_missing_label(name, value):
    tasks = {name: all_tasks()[name]}
    with pytest.raises(Diverged, match=f"predictions of {name} are not finite"):
        evaluate(Constant(tasks, value), dataset(tasks), tasks, 1, 0, torch.device("cpu"))
