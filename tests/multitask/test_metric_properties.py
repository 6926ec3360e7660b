"""Properties of every metric on random maps: ranges, the perfect prediction, the order of images, masked pixels."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from experiment.config import DataSettings
from multitask.tasks import TASKS, Task, build_tasks

few = settings(max_examples=15, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
ALL = build_tasks(list(TASKS), DataSettings(), 5)
# {metric: (lowest, highest, value of a perfect prediction)}
RANGES = {
    "mean_iou": (0, 1, 1.0),
    "ods_f": (0, 1, 1.0),
    "max_f": (0, 1, 1.0),
    "rmse": (0, float("inf"), 0.0),
    "absolute_relative": (0, float("inf"), 0.0),
    "delta_1": (0, 1, 1.0),
    "delta_2": (0, 1, 1.0),
    "delta_3": (0, 1, 1.0),
    "si_log_rmse": (0, float("inf"), 0.0),
    "mean_angle": (0, 180, 0.0),
    "median_angle": (0, 180, 0.0),
    "within_11.25": (0, 1, 1.0),
    "within_22.5": (0, 1, 1.0),
    "within_30": (0, 1, 1.0),
}


def sample(name: str, seed: int, count: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(a label, another label of the kind as a prediction, mask, the label as a perfect prediction)."""
    draw = torch.Generator().manual_seed(seed)
    task = ALL[name]
    shape = (count, 1, 9, 11)
    mask = torch.rand(shape, generator=draw) < 0.7
    mask[:, :, 0, 0] = True
    if name == "normals":
        labels = [torch.nn.functional.normalize(torch.randn(count, 3, 9, 11, generator=draw), dim=1) for _ in "ab"]
        return labels[0], labels[1], mask, labels[0]
    if name == "depth":
        labels = [0.5 + 5 * torch.rand(shape, generator=draw) for _ in "ab"]
        return labels[0], labels[1], mask, labels[0]
    if name in ("edge", "saliency"):
        label = (torch.rand(shape, generator=draw) < 0.3).float()
        label[:, :, 0, 0] = 1
        return label, torch.rand(shape, generator=draw), mask, label
    label = torch.randint(task.channels, shape, generator=draw)
    # every class occurs, so that none counts as missed
    label[0, 0, 1, : task.channels] = torch.arange(task.channels)[:11]
    mask[0, 0, 1] = True
    return label, torch.randint(task.channels, shape, generator=draw), mask, label


def values(task: Task, predicted: Tensor, label: Tensor, mask: Tensor) -> dict[str, float]:
    metric = task.metric()
    metric.update(predicted, label, mask)
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("name", TASKS)
@few
@given(seed=st.integers(0, 10**6))
def test_values_lie_in_their_range_and_a_perfect_prediction_is_best(name: str, seed: int):
    task = ALL[name]
    label, other, mask, perfect = sample(name, seed)
    some, best = values(task, other, label, mask), values(task, perfect, label, mask)
    assert set(some) == set(task.metrics)
    for metric, higher in task.metrics.items():
        low, high, top = RANGES[metric]
        assert low <= some[metric] <= high, metric
        assert best[metric] == pytest.approx(top, abs=0.05 if metric.endswith("angle") else 1e-3), metric
        assert (best[metric] >= some[metric]) if higher else (best[metric] <= some[metric] + 0.06), metric


@pytest.mark.parametrize("name", TASKS)
@few
@given(seed=st.integers(0, 10**6))
def test_order_of_images_and_masked_pixels_mean_nothing(name: str, seed: int):
    task = ALL[name]
    label, other, mask, perfect = sample(name, seed)
    expected = values(task, other, label, mask)
    turned = values(task, other.flip(0), label.flip(0), mask.flip(0))
    changed = values(task, torch.where(mask, other, perfect), label, mask)
    for metric, value in expected.items():
        assert turned[metric] == pytest.approx(value, rel=1e-5, abs=1e-6), metric
        assert changed[metric] == pytest.approx(value, rel=1e-5, abs=1e-6), metric
