"""Errors of continuous values against numpy, and metrics of one's own beside a task's."""

import numpy as np
import pytest
import torch

from experiment.errors import InputError
from multitask.metrics import merged, values_of
from multitask.metrics.base import OwnMetric
from multitask.metrics.regression import RegressionErrors
from multitask.tasks.depth import Depth
from multitask.testing import check_metric


class Largest(OwnMetric):
    """The largest error so far, in metres: what does not add up over batches."""

    metrics = {"largest": False}
    primary = True

    def __init__(self):
        super().__init__()
        self.add_state("value", torch.tensor(-torch.inf), dist_reduce_fx="max")

    def update(self, decoded, label, mask):
        self.value = torch.maximum(self.value, (decoded - label).abs().where(mask, -torch.inf).amax())

    def compute(self):
        return {"largest": self.value.where(self.value >= 0, torch.nan)}


def batches(channels=1):
    draw = torch.Generator().manual_seed(0)
    decoded, label = (torch.rand(4, channels, 6, 5, generator=draw) for _ in range(2))
    return decoded, label, torch.rand(4, 1, 6, 5, generator=draw) < 0.7


def test_errors_of_continuous_values_against_numpy():
    decoded, label, mask = batches(3)
    check_metric(RegressionErrors(), decoded, label, mask, ("rmse", "mean_error"))
    metric = RegressionErrors()
    metric.update(decoded, label, mask)
    error = (decoded - label).double().numpy()[mask.expand_as(label).numpy()]
    assert float(metric.compute()["rmse"]) == pytest.approx(np.sqrt(np.mean(error**2)))
    assert float(metric.compute()["mean_error"]) == pytest.approx(np.mean(np.abs(error)))


def test_a_metric_of_ones_own_joins_a_tasks_and_may_be_its_primary_one():
    task = Depth()
    task.add_metric(Largest)
    assert task.primary == "largest" and Depth().primary == "rmse"
    with pytest.raises(InputError, match="measures largest, which depth has"):
        task.add_metric(Largest)
    decoded, label, mask = batches()
    whole = task.meter()
    whole.update(decoded, label, mask)
    found = values_of({"depth": whole})["depth"]
    assert found["largest"] == pytest.approx(float((decoded - label).abs()[mask].max()))
    alone = Depth().metric()
    alone.update(decoded, label, mask)
    assert values_of({"depth": alone})["depth"].items() <= found.items()
    states = []  # as several processes hand them on
    for part in (slice(0, 1), slice(1, 4)):
        metric = task.meter()
        metric.update(decoded[part], label[part], mask[part])
        states.append(metric.metric_state)
    assert values_of({"depth": merged(task.meter(), states)})["depth"] == pytest.approx(found)
    whole.reset()
    assert values_of({"depth": whole})["depth"]["largest"] is None
