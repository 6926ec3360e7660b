"""Losses, schedules and metrics that some papers have in the place of the default ones."""

import math

import pytest
import torch
import torch.nn.functional as F

from experiment.config import DataSettings, TrainingSettings
from experiment.errors import InputError
from multitask.metrics.depth import DepthErrors
from multitask.tasks import build_tasks
from multitask.training.schedule import learning_rate
from tests.support.training import training

B, H, W = 2, 5, 6


def tasks(**settings):
    return build_tasks(["depth", "normals"], DataSettings(**settings), 3)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_reversed_huber_of_inverse_depth_by_loops():
    task = tasks(depth_loss="berhu")["depth"]
    label, mask = 0.5 + 9 * drawn(B, 1, H, W), drawn(B, 1, H, W, seed=1) < 0.7
    prediction = 200 * drawn(B, 1, H, W, seed=2)
    for images, found in ((range(B), task.loss(prediction, label, mask)), *(
        ([i], task.image_losses(prediction, label, mask)[i]) for i in range(B)
    )):  # fmt: skip
        errors = []
        for b in images:
            for i in range(H):
                for j in range(W):
                    inverse = 65536 / (100 * float(label[b, 0, i, j]) + 1)
                    errors.append(abs(float(prediction[b, 0, i, j]) - inverse) if mask[b, 0, i, j] else 0.0)
        c = max(errors) / 5
        expected = sum(e if e <= c else (e * e + c * c) / (2 * c) for e in errors) / len(errors)
        assert float(found) == pytest.approx(expected)


def test_the_reversed_huber_is_smooth_where_its_parts_meet_and_ignores_masked_pixels():
    task = tasks(depth_loss="berhu")["depth"]
    label, mask = torch.full((1, 1, 1, 3), 2.0), torch.tensor([True, True, False]).view(1, 1, 1, 3)
    inverse = 65536 / 201
    at = lambda e: float(task.loss(inverse + torch.tensor([5.0, e, 99.0]).view(1, 1, 1, 3), label, mask))  # noqa: E731
    assert at(1.0) == pytest.approx((at(0.999) + at(1.001)) / 2, rel=1e-5)  # c is 1
    assert at(0.0) == pytest.approx((25 + 1) / 2 / 3, rel=1e-5)


def test_predicted_inverse_depth_decodes_to_metres():
    task = tasks(depth_loss="berhu")["depth"]
    metres = torch.tensor([0.0, 0.99, 10.0, 655.35])
    assert torch.allclose(task.decode(65536 / (100 * metres + 1)), metres, rtol=1e-5, atol=1e-5)
    assert torch.allclose(task.decode(torch.tensor([-3.0, 0.5, 1e9])), torch.tensor([655.35, 655.35, 0.0]))
    statistics = task.statistics(torch.full((2, 1, 3, 3), 4.0), torch.ones(2, 1, 3, 3, dtype=torch.bool))
    assert float(task.decode(task.head_bias(statistics))) == pytest.approx(4.0, rel=1e-5)


def test_cosine_of_normals_by_hand():
    task = tasks(normals_loss="cosine")["normals"]
    label = F.normalize(drawn(B, 3, H, W) - 0.5, dim=1)
    mask = drawn(B, 1, H, W, seed=1) < 0.7
    prediction = drawn(B, 3, H, W, seed=2) - 0.5
    cosines = F.cosine_similarity(prediction, label, dim=1)
    assert float(task.loss(prediction, label, mask)) == pytest.approx(float((1 - cosines)[mask[:, 0]].mean()))
    each = torch.stack([(1 - cosines[b])[mask[b, 0]].mean() for b in range(B)])
    assert torch.allclose(task.image_losses(prediction, label, mask), each)
    assert float(task.loss(-label, label, mask)) == pytest.approx(2.0)


def test_depth_is_evaluated_up_to_the_limit():
    label = torch.tensor([10.0, 79.0, 80.0, 655.0]).view(1, 1, 2, 2)
    predicted = torch.tensor([13.0, 300.0, 5.0, 5.0]).view(1, 1, 2, 2)
    metric = DepthErrors(80.0)
    metric.update(predicted, label, torch.ones(1, 1, 2, 2, dtype=torch.bool))
    assert float(metric.compute()["rmse"]) == pytest.approx(math.sqrt((3**2 + 1**2) / 2))
    assert tasks(depth_limit=80.0)["depth"].metric().limit == 80 and tasks()["depth"].metric().limit is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"final_rate": 0.1}, [0.9 * (1 - step / 4) + 0.1 for step in range(4)]),
        ({"schedule": "step", "milestones": [1, 3]}, [1, 0.1, 0.1, 0.01]),
        ({"schedule": "step", "milestones": [2], "step_factor": 0.5}, [1, 1, 0.5, 0.5]),
        ({"schedule": "step"}, [1, 1, 1, 1]),
    ],
)
def test_schedules(changes, expected):
    settings = TrainingSettings(iterations=4, learning_rate=1.0, poly_power=1.0, **changes)
    assert [learning_rate(settings, step) for step in range(4)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "polly"}, "nearest: 'poly'"),
        ({"milestones": [3, 3]}, r"training\.milestones is \[3, 3\]: expected numbers of steps that rise from 1"),
        ({"milestones": [0]}, "rise from 1"),
        ({"beta_2": 1.0}, r"training\.beta_2 is 1\.0: expected a number between 0 and 1"),
        ({"final_rate": 1.0}, r"training\.final_rate is 1\.0: expected 0 to 0\.01"),
        ({"step_factor": 0.0}, r"training\.step_factor is 0\.0: expected a positive number"),
    ],
)
def test_bad_schedules(changes, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth_loss": "huber"}, "nearest: 'berhu'"),
        ({"normals_loss": "cos"}, "nearest: 'cosine'"),
        ({"depth_limit": 0.0}, r"data\.depth_limit is 0\.0: expected a positive number"),
    ],
)
def test_bad_losses(changes, message):
    with pytest.raises(InputError, match=message):
        DataSettings(**changes)


def test_adam_adds_its_weight_decay_to_the_gradients(tmp_path):
    """A large decay decides the sign of the first update, whose size is the rate's; AdamW would shrink by the half."""
    settings = {"optimizer": "adam", "beta_2": 0.98, "weight_decay": 500.0, "learning_rate": 1e-3, "iterations": 1}
    run = training(tmp_path, prior_start=False, **settings)
    assert type(run.optimizer) is torch.optim.Adam and run.optimizer.param_groups[0]["betas"] == (0.9, 0.98)
    weights = run.network.get_parameter("encoder.model.layer1.0.conv1.weight")
    before = weights.detach().clone()
    run.fit()
    large = before.abs() > 0.01
    assert large.any()
    torch.testing.assert_close((weights - before)[large], -1e-3 * before.sign()[large], rtol=1e-2, atol=0)
