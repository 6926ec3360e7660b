"""Losses and metrics against naive loops and closed forms; masks; label regions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import jaccard_score

from experiment.config import DataSettings, LossWeightSettings
from experiment.errors import InputError
from multitask.tasks import TASKS, build_tasks
from multitask.tasks.normals import facing_directions
from multitask.training.loss_weighting import loss_weights

CLASSES = 5
B, H, W = 2, 6, 8


def all_tasks(**settings):
    return build_tasks(list(TASKS), DataSettings(**settings), CLASSES)


def example(task, seed=0):
    """A random label in the task's form, and a mask with holes."""
    draw = torch.Generator().manual_seed(seed)
    if task.name == "depth":
        label = 0.5 + 6 * torch.rand(B, 1, H, W, generator=draw)
    elif task.name == "normals":
        label = F.normalize(torch.randn(B, 3, H, W, generator=draw), dim=1)
    else:
        high = task.channels if task.name in ("semseg", "human_parts") else 2
        label = torch.randint(high, (B, 1, H, W), generator=draw).to(torch.uint8)
    return label, torch.rand(B, 1, H, W, generator=draw) < 0.7


@pytest.mark.parametrize("name", TASKS)
def test_ignored_pixels_change_no_loss_and_no_metric(name):
    task = all_tasks()[name]
    label, mask = example(task)
    prediction = torch.randn(B, task.channels, H, W, generator=torch.Generator().manual_seed(1))
    regions = torch.randn(B, task.region_count, H, W, generator=torch.Generator().manual_seed(2))
    other = torch.where(mask, label, torch.full_like(label, 1 if label.dtype == torch.uint8 else 77))

    def figures(label, prediction):
        metric = task.metric()
        metric.update(task.decode(prediction), label, mask)
        values = {k: float(v) for k, v in metric.compute().items()}
        values["loss"] = float(task.loss(prediction, label, mask))
        values["region_loss"] = float(task.region_loss(regions, label, mask))
        return values

    changed = torch.where(mask, prediction, prediction + 3)
    assert figures(label, prediction) == pytest.approx(figures(other, changed), rel=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_without_valid_pixels_costs_nothing(name):
    task = all_tasks()[name]
    label, mask = example(task)
    prediction = torch.randn(B, task.channels, H, W, requires_grad=True)
    loss = task.loss(prediction, label, torch.zeros_like(mask))
    loss.backward()
    assert loss == 0 and not prediction.grad.any()


@pytest.mark.parametrize("name", TASKS)
def test_gradient_lowers_the_loss(name):
    task = all_tasks()[name]
    label, mask = example(task)
    prediction = torch.randn(B, task.channels, H, W, requires_grad=True)
    before = task.loss(prediction, label, mask)
    before.backward()
    after = task.loss(prediction - 0.1 * prediction.grad / prediction.grad.norm(), label, mask)
    assert after < before


@pytest.mark.parametrize("name", TASKS)
def test_metric_over_two_halves_equals_the_whole(name):
    task = all_tasks()[name]
    label, mask = example(task)
    decoded = task.decode(torch.randn(B, task.channels, H, W))
    whole, halves = task.metric(), task.metric()
    whole.update(decoded, label, mask)
    for i in range(B):
        halves.update(decoded[i : i + 1], label[i : i + 1], mask[i : i + 1])
    expected = {k: float(v) for k, v in whole.compute().items()}
    assert {k: float(v) for k, v in halves.compute().items()} == pytest.approx(expected, rel=1e-9)
    assert tuple(expected) == tuple(task.metrics)
    # every state can be summed over processes
    assert all(metric == torch.sum or metric.__name__ == "dim_zero_sum" for metric in whole._reductions.values())


@pytest.mark.parametrize("name", TASKS)
def test_the_label_itself_scores_best(name):
    task = all_tasks()[name]
    label, mask = example(task)
    mask = torch.ones_like(mask)
    metric = task.metric()
    metric.update(label.float() if name in ("edge", "saliency") else label, label, mask)
    value = float(metric.compute()[task.primary])
    assert value == pytest.approx(1.0 if task.metrics[task.primary] else 0.0, abs=1e-6)


def test_semseg_cross_entropy_by_hand():
    task = all_tasks()["semseg"]
    label, mask = example(task)
    logits = torch.randn(B, CLASSES, H, W)
    terms = [
        math.log(sum(math.exp(x) for x in logits[b, :, y, x_])) - float(logits[b, label[b, 0, y, x_].long(), y, x_])
        for b in range(B)
        for y in range(H)
        for x_ in range(W)
        if mask[b, 0, y, x_]
    ]
    assert float(task.loss(logits, label, mask)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_mean_iou_against_scikit_learn():
    label, mask = example(all_tasks()["semseg"])
    predicted = torch.randint(CLASSES - 1, label.shape, generator=torch.Generator().manual_seed(3))
    label = label.clamp(max=CLASSES - 2)  # the last class never occurs
    for rule, expected in (
        ("zero", jaccard_score(label[mask], predicted[mask], average="macro") * (CLASSES - 1) / CLASSES),
        ("skip", jaccard_score(label[mask], predicted[mask], average="macro")),
    ):
        metric = all_tasks(empty_classes=rule)["semseg"].metric()
        metric.update(predicted, label, mask)
        assert float(metric.compute()["mean_iou"]) == pytest.approx(expected)


def test_depth_errors_by_hand():
    task = all_tasks()["depth"]
    label, mask = example(task)
    predicted = label * torch.empty_like(label).uniform_(0.5, 2, generator=torch.Generator().manual_seed(4))
    metric = task.metric()
    metric.update(predicted, label, mask)
    p, y = predicted[mask].double().numpy(), label[mask].double().numpy()
    g = np.log(p) - np.log(y)
    ratio = np.maximum(p / y, y / p)
    expected = {
        "rmse": np.sqrt(((p - y) ** 2).mean()),
        "absolute_relative": (abs(p - y) / y).mean(),
        **{f"delta_{k}": (ratio < 1.25**k).mean() for k in (1, 2, 3)},
        "si_log_rmse": 100 * g.std(),
    }
    assert {k: float(v) for k, v in metric.compute().items()} == pytest.approx(expected, rel=1e-9)
    assert task.decode(torch.tensor([[[[-2.0]]]])) == 0


def test_normal_angles_by_hand():
    task = all_tasks()["normals"]
    label, mask = example(task)
    predicted = F.normalize(label + 0.4 * torch.randn(label.shape, generator=torch.Generator().manual_seed(5)), dim=1)
    metric = task.metric()
    metric.update(predicted, label, mask)
    a, b = (x.double().movedim(1, -1)[mask[:, 0]].numpy() for x in (predicted, label))
    angle = np.degrees(np.arccos(np.clip((a * b).sum(-1) / np.linalg.norm(a, axis=-1), -1, 1)))
    values = {k: float(v) for k, v in metric.compute().items()}
    assert values["mean_angle"] == pytest.approx(angle.mean(), abs=1e-4)
    assert values["median_angle"] == pytest.approx(np.median(angle), abs=0.005)
    assert values["within_22.5"] == pytest.approx((angle < 22.5).mean())


@pytest.mark.parametrize("count", [1, 2, 9, 10])
def test_the_median_of_few_pixels(count):
    """Between the two middle angles where their number is even, however far they lie apart."""
    angle = torch.rand(count, generator=torch.Generator().manual_seed(count), dtype=torch.double) * math.pi
    predicted = torch.stack([angle.sin(), 0 * angle, angle.cos()]).view(1, 3, 1, count)
    label = torch.tensor([0.0, 0.0, 1.0], dtype=torch.double).view(1, 3, 1, 1).expand_as(predicted)
    metric = all_tasks()["normals"].metric()
    metric.update(predicted, label, torch.ones(1, 1, 1, count, dtype=torch.bool))
    expected = np.median(np.degrees(angle.numpy()))
    assert float(metric.compute()["median_angle"]) == pytest.approx(expected, abs=0.0051)


def test_a_known_small_angle_is_exact():
    task = all_tasks()["normals"]
    tilt = math.radians(0.01)
    label = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).view(1, 3, 1, 1)
    predicted = torch.tensor([math.sin(tilt), 0.0, math.cos(tilt)], dtype=torch.float64).view(1, 3, 1, 1)
    metric = task.metric()
    metric.update(predicted, label, torch.ones(1, 1, 1, 1, dtype=torch.bool))
    assert float(metric.compute()["mean_angle"]) == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("on_thresholds", [False, True])
def test_saliency_f_by_hand(on_thresholds):
    """A probability that equals a threshold counts as salient there."""
    task = all_tasks()["saliency"]
    label, mask = example(task)
    draw = torch.Generator().manual_seed(6)
    if on_thresholds:
        probability = torch.randint(1, 20, label.shape, generator=draw).double().div(20).float()
    else:
        probability = torch.rand(label.shape, generator=draw)
    metric = task.metric()
    metric.update(probability, label, mask)
    values, truth = probability[mask].numpy(), label[mask].numpy() > 0
    best = 0.0
    for k in range(1, 20):
        p = np.array([value >= np.float32(k / 20) for value in values])
        if p.any():
            precision, recall = (p & truth).sum() / p.sum(), (p & truth).sum() / truth.sum()
            best = max(best, 1.3 * precision * recall / max(0.3 * precision + recall, 1e-12))
    assert float(metric.compute()["max_f"]) == pytest.approx(best)


def test_normals_loss_is_per_pixel_on_unit_predictions():
    task = all_tasks()["normals"]
    label = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    loss = task.loss(torch.tensor([7.0, 0.0, 0.0]).view(1, 3, 1, 1), label, torch.ones(1, 1, 1, 1, dtype=torch.bool))
    assert float(loss) == pytest.approx(2.0)  # |1-0| + |0-1|, not divided by three


def test_edge_loss_weighs_positives():
    task = build_tasks(["edge"], DataSettings(edge_positive_weight=0.9), 0)["edge"]
    label = torch.tensor([1, 0], dtype=torch.uint8).view(1, 1, 1, 2)
    loss = task.loss(torch.zeros(1, 1, 1, 2), label, torch.ones(1, 1, 1, 2, dtype=torch.bool))
    assert float(loss) == pytest.approx((0.9 * math.log(2) + 0.1 * math.log(2)) / 2)


def test_depth_bins():
    task = all_tasks()["depth"]
    depths = torch.tensor([0.1, 0.7, 0.72, 2.0, 9.99, 10.0, 50.0]).view(1, 1, 1, -1)
    expected = [
        min(39, max(0, math.floor(40 * math.log(y / 0.7) / math.log(10 / 0.7)))) for y in depths.flatten().tolist()
    ]
    assert task.region_label(depths).flatten().tolist() == expected


def test_normal_regions_are_the_nearest_directions(tmp_path):
    label, _ = example(all_tasks()["normals"])
    centroids = facing_directions(40)
    assert centroids.norm(dim=1).allclose(torch.ones(40)) and (centroids[:, 2] > 0).all()
    mine = F.normalize(torch.randn(7, 3), dim=1)
    np.save(tmp_path / "c.npy", mine.numpy())
    for task, own in (
        (all_tasks()["normals"], centroids),
        (all_tasks(normal_centroids=str(tmp_path / "c.npy"))["normals"], mine),
    ):
        found = task.region_label(label)
        for b, y, x in ((0, 0, 0), (1, 3, 4), (0, 5, 7)):
            distances = (own - label[b, :, y, x]).norm(dim=1)
            assert found[b, 0, y, x] == distances.argmin()
        assert task.region_count == len(own)


def test_flip_and_zoom_change_values_where_they_must():
    tasks = all_tasks()
    normal = torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1)
    assert tasks["normals"].flip(normal).flatten().tolist() == pytest.approx([-0.6, 0.0, 0.8])
    assert tasks["depth"].rescale(torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), 1.5)) == 2


def test_loss_weights():
    tasks = all_tasks()
    assert loss_weights(tasks, LossWeightSettings({"edge": 7}))["edge"] == 7
    assert loss_weights(tasks, LossWeightSettings())["normals"] == 10
    with pytest.raises(InputError, match="nearest: 'depth'"):
        loss_weights(tasks, LossWeightSettings({"dept": 1}))
    with pytest.raises(InputError, match="positive"):
        loss_weights(tasks, LossWeightSettings({"depth": 0}))


def test_unknown_and_repeated_tasks():
    with pytest.raises(InputError, match=r"unknown task 'normal'.*nearest: 'normals'"):
        build_tasks(["normal"], DataSettings(), 3)
    with pytest.raises(InputError, match="different tasks"):
        build_tasks(["depth", "depth"], DataSettings(), 3)
