"""The training prior: its statistics, the bias of the heads, and the yardstick beside every validation."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from experiment.config import DataSettings
from multitask.data import open_dataset
from multitask.data.prior import Prior
from multitask.tasks import TASKS, build_tasks
from multitask.training.evaluation import table, untrained
from tests.support.training import DATA, training

ALL = DataSettings(height=32, width=48, train_images=6, validation_images=3, workers=0, tasks=list(TASKS))


@pytest.fixture(scope="module")
def source():
    return open_dataset(ALL)


def pixels(source, name):
    """(channels, pixels) of all training labels."""
    train = source.splits["train"]
    return np.concatenate([train[i]["labels"][name].numpy().reshape(-1, 32 * 48) for i in range(len(train))], 1)


def test_heads_start_at_frequencies_means_and_odds(source):
    biases = source.prior.head_biases()
    for name, task in source.tasks.items():
        assert biases[name].shape == (task.channels,)
        labels = pixels(source, name)
        constant = task.decode(biases[name].view(1, -1, 1, 1))
        if name in ("semseg", "human_parts"):
            shares = np.bincount(labels[0].astype(int), minlength=task.channels) / labels.size
            expected = torch.from_numpy(np.maximum(shares, 1e-4)).float()
            torch.testing.assert_close(biases[name].exp(), expected)
            assert constant.item() == shares.argmax()
        elif name == "normals":
            mean = labels.mean(1)
            np.testing.assert_allclose(constant.flatten(), mean / np.linalg.norm(mean), rtol=1e-4)
        else:  # the mean depth, or the frequency of positives
            assert constant.item() == pytest.approx(labels.mean(), rel=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_statistics_add_up_over_images_and_leave_ignored_pixels_out(name):
    task = build_tasks([name], DataSettings(), 5)[name]
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(2, (4, task.label_channels, 6, 8), generator=draw).float()
    mask = torch.rand(4, 1, 6, 8, generator=draw) < 0.7
    parts = sum(task.statistics(label[i : i + 1], mask[i : i + 1]) for i in range(4))
    torch.testing.assert_close(task.statistics(label, mask), parts)
    torch.testing.assert_close(task.statistics(torch.where(mask, label, 1), mask), parts)
    nothing = task.head_bias(task.statistics(label, torch.zeros_like(mask)))
    assert nothing.shape == (task.channels,) and nothing.isfinite().all()


def test_a_bounded_number_of_images_is_read_evenly_spread(source):
    class Counted:
        def __init__(self, dataset):
            self.dataset, self.read = dataset, []

        def __len__(self):
            return len(self.dataset)

        def __getitem__(self, index):
            self.read.append(index)
            return self.dataset[index]

    train = Counted(source.splits["train"])
    prior = Prior({"train": train}, source.tasks, limit=3)
    prior.head_biases()
    assert train.read == [0, 2, 4] and prior.images == 3
    prior.head_biases()
    assert len(train.read) == 3


@pytest.mark.parametrize("start", [True, False])
def test_heads_start_at_the_prior_if_wanted(tmp_path, start):
    trainer = training(tmp_path, prior_start=start)
    first = []
    trainer.callback.before_step = lambda step: first.append(
        [value.clone() for key, value in trainer.network.state_dict().items() if key.endswith("semseg.bias")]
    )
    trainer.fit()
    expected = trainer.recipe.dataset.prior.head_biases()["semseg"]
    heads = [bias for bias in first[0] if bias.shape == expected.shape]
    assert len(heads) == 1
    torch.testing.assert_close(heads[0], expected if start else torch.zeros_like(expected))


def test_resuming_reads_the_prior_from_the_run(tmp_path, monkeypatch):
    trainer = training(tmp_path, validate_every=3)

    def stop(done):
        if done == 4:
            raise KeyboardInterrupt

    trainer.callback.after_step = stop
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(lambda values: 0.0)
    kept = json.loads((tmp_path / "run/prior.json").read_text())
    assert kept["images"] == 6 and kept["head_biases"].keys() == kept["metrics"]["val"].keys() == set(DATA.tasks)
    monkeypatch.setattr(Prior, "statistics", property(lambda self: pytest.fail("estimated again")))
    resumed = training(tmp_path, resume=True, validate_every=3)
    resumed.fit(lambda values: 0.0)
    assert resumed.step == 6


def test_validation_lines_show_the_constant_prediction(tmp_path, capsys):
    trainer = training(tmp_path, iterations=2, validate_every=1)
    trainer.fit(lambda values: 0.0)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("validation, step")]
    constant = trainer.recipe.dataset.prior.metrics("val")["depth"]["rmse"]
    assert len(lines) == 2 and all(f"(constant {constant:.4g})" in line for line in lines)


def test_tasks_no_better_than_the_constant_are_named(source):
    tasks = {name: source.tasks[name] for name in ("semseg", "depth", "normals")}
    prior = {"semseg": {"mean_iou": 0.1}, "depth": {"rmse": 1.0}, "normals": {"mean_angle": 30.0}}
    good = {"semseg": {"mean_iou": 0.2}, "depth": {"rmse": 0.9}, "normals": {"mean_angle": 20.0}}
    assert untrained(good, tasks, prior) == [] and "warning" not in table(good, tasks, prior)
    bad = {"semseg": {"mean_iou": 0.1}, "depth": {"rmse": float("nan")}, "normals": {"mean_angle": 20.0}}
    assert untrained(bad, tasks, prior) == ["semseg", "depth"]
    (warning,) = [line for line in table(bad, tasks, prior).splitlines() if line.startswith("warning")]
    assert "semseg, depth;" in warning and "0.1000" in table(bad, tasks, prior)


@pytest.mark.parametrize("name", TASKS)
def test_losses_of_images_are_those_of_single_images(name):
    task = build_tasks([name], DataSettings(), 5)[name]
    draw = torch.Generator().manual_seed(1)
    prediction = torch.randn(3, task.channels, 6, 8, generator=draw)
    label = torch.randint(2, (3, task.label_channels, 6, 8), generator=draw)
    label = F.normalize(label.float() + 0.1, dim=1) if name == "normals" else label.to(torch.uint8)
    mask = torch.rand(3, 1, 6, 8, generator=draw) < torch.tensor([0.3, 0.8, 0.0]).view(3, 1, 1, 1)
    losses = task.image_losses(prediction, label, mask)
    singles = [task.loss(prediction[i : i + 1], label[i : i + 1], mask[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(losses, torch.stack(singles))
    torch.testing.assert_close(super(type(task), task).image_losses(prediction, label, mask), losses)
