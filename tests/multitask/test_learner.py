"""The loader's order, the loop's schedule and its checkpoints."""

import pytest
import torch

from experiment.config import DataSettings, LossWeightSettings, TrainingSettings
from experiment.errors import InputError
from experiment.run import Run
from multitask.data import open_dataset
from multitask.data.loader import StepOrder, training_loader
from multitask.network import MultiTaskNetwork
from multitask.training.checkpoints import load_checkpoint
from multitask.training.evaluation import evaluate
from multitask.training.loss_weighting import loss_weights
from tests.support.networks import small_network
from tests.support.training import DATA, training

SMALL = small_network()
CPU = torch.device("cpu")


def test_order_covers_each_epoch_and_restarts_anywhere():
    steps = list(StepOrder(7, 2, seed=3, start=0, stop=14))
    seen = [i for step in steps for i in step]
    for epoch in range(4):
        assert sorted(seen[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert seen[:7] != seen[7:14]
    assert list(StepOrder(7, 2, seed=3, start=5, stop=14)) == steps[5:]
    assert list(StepOrder(7, 2, seed=4, start=0, stop=14)) != steps


def test_workers_hand_out_the_same_images_and_leave_the_global_generator_alone():
    dataset = open_dataset(DATA).splits["train"]
    before = torch.get_rng_state()
    for none, one in zip(
        training_loader(dataset, 2, 0, 1, 4, 0, False), training_loader(dataset, 2, 0, 1, 4, 1, False)
    ):
        assert torch.equal(none["image"], one["image"])
        assert torch.equal(none["labels"]["depth"], one["labels"]["depth"])
    assert torch.equal(before, torch.get_rng_state())


def test_a_very_large_seed_orders_too():
    assert list(StepOrder(7, 2, seed=2**60, start=0, stop=3)) == list(StepOrder(7, 2, seed=2**60, start=0, stop=3))


def test_learning_rate_follows_the_poly_rule(tmp_path):
    run = training(tmp_path, learning_rate=0.01)
    rates = []
    run.callback.before_step = lambda step: rates.append(run.optimizer.param_groups[0]["lr"])
    run.fit()
    assert rates == pytest.approx([0.01 * (1 - step / 6) ** 0.9 for step in range(6)])


def at_rate(factor):
    """Builds a network whose encoder has this factor on its learning rate."""
    return lambda tasks: MultiTaskNetwork(small_network(backbone_rate=factor), tasks)


def test_the_encoder_learns_at_its_own_rate(tmp_path):
    """Plain SGD: the first step's change is rate x gradient, so a factor on the rate is one on the change."""
    changes = {}
    for factor in (1.0, 0.1):
        run = training(
            tmp_path, f"run_{factor}", build=at_rate(factor),
            optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.1, iterations=1,
        )  # fmt: skip
        before = {name: parameter.detach().clone() for name, parameter in run.network.named_parameters()}
        run.fit()
        changes[factor] = {name: p.detach() - before[name] for name, p in run.network.named_parameters()}
    for name, change in changes[1.0].items():
        scale = 0.1 if name.startswith("encoder.") else 1.0
        torch.testing.assert_close(changes[0.1][name], scale * change, rtol=1e-3, atol=1e-7)
    assert changes[1.0]["encoder.model.layer1.0.bn2.weight"].abs().max() > 1e-6


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_frozen_encoder_is_bit_equal_after_training(tmp_path, optimizer):
    run = training(tmp_path, build=at_rate(0.0), optimizer=optimizer, learning_rate=0.1)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.fit()
    run.recalibrate(2)
    after = run.network.state_dict()
    for name, value in before.items():
        if name.startswith("encoder."):
            assert torch.equal(after[name], value), name
    assert not torch.equal(after["decoder.parts.depth.conv.weight"], before["decoder.parts.depth.conv.weight"])


def test_the_loss_falls(tmp_path):
    run = training(tmp_path, iterations=30, learning_rate=0.01, log_every=30)
    batch = run.augment(next(iter(training_loader(run.recipe.dataset.splits["train"], 2, 0, 0, 1, 0, False))), CPU)
    first = float(run.train_step(batch)["loss"].detach())
    for _ in range(12):
        last = float(run.train_step(batch)["loss"].detach())
    assert last < 0.8 * first


def interrupted(done):
    """A callback's hook that breaks the training off after its fourth step."""
    if done == 4:
        raise KeyboardInterrupt


def test_resuming_equals_never_having_stopped(tmp_path):
    whole = training(tmp_path, "whole")
    whole.fit()
    half = training(tmp_path, "half")
    half.callback.after_step = interrupted
    with pytest.raises(KeyboardInterrupt):
        half.fit()
    torch.manual_seed(123)
    resumed = training(tmp_path, "half", resume=True)
    resumed.fit()
    assert resumed.step == 6
    for key, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], value), key


def test_the_best_on_validation_is_kept(tmp_path):
    scores = iter([1.0, 3.0, 2.0])
    run = training(tmp_path, validate_every=2)
    run.fit(lambda values: next(scores))
    assert run.best == (3.0, 4)
    assert load_checkpoint(run.run, "best")["step"] == 4 and load_checkpoint(run.run, "last")["step"] == 6


def test_recalibration_gives_the_mean_statistics(tmp_path):
    run = training(tmp_path)
    norm = run.network.encoder.model.bn1
    seen = []
    handle = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].mean((0, 2, 3))))
    run.recalibrate(3)
    handle.remove()
    assert norm.running_mean.allclose(torch.stack(seen).mean(0), atol=1e-6)
    assert norm.momentum == 0.1


def test_clipping_bounds_the_joint_gradient(tmp_path):
    run = training(tmp_path, clip_norm=1e-3)
    batch = run.augment(next(iter(training_loader(run.recipe.dataset.splits["train"], 2, 0, 0, 1, 0, False))), CPU)
    run.train_step(batch)
    norms = torch.stack([p.grad.norm() for p in run.parameters if p.grad is not None])
    assert norms.norm() == pytest.approx(1e-3, rel=1e-3)


def test_a_loss_that_is_not_finite_ends_in_one_line(tmp_path):
    run = training(tmp_path, learning_rate=1e30, log_every=1, optimizer="sgd")
    with pytest.raises(InputError, match=r"training\.learning_rate"):
        run.fit()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 0}, "iterations"),
        ({"batch_size": 1}, "expected 2 to"),
        ({"optimizer": "adamww"}, "nearest: 'adamw'"),
        ({"learning_rate": 0.0}, "positive"),
    ],
)
def test_bad_training_settings(changes, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 16}, "data.height x data.width is 16x128: expected at least 32x32"),
        ({"scale_range": (2.0, 0.5)}, r"data\.scale_range"),
        ({"empty_classes": "skipp"}, "nearest: 'skip'"),
        ({"workers": -1}, r"data\.workers is -1"),
        ({"train_images": 0}, r"data\.train_images is 0: expected 1 to"),
        ({"classes": 0}, r"data\.classes"),
        ({"edge_positive_weight": 1.5}, r"data\.edge_positive_weight"),
        ({"edge_tolerance": float("nan")}, r"data\.edge_tolerance"),
    ],
)
def test_bad_data_settings(changes, message):
    with pytest.raises(InputError, match=message):
        DataSettings(**changes)


def test_loss_weights_of_tasks_that_are_not_selected_are_ignored():
    tasks = open_dataset(DATA).tasks
    given = LossWeightSettings(weights={"depth": 3.0, "edge": 25.0}, grid={"normals": [1.0]})
    assert loss_weights(tasks, given) == {"semseg": 1.0, "depth": 3.0}
    with pytest.raises(InputError, match=r"task in loss_weights\.weights 'egde'.*nearest: 'edge'"):
        loss_weights(tasks, LossWeightSettings(weights={"egde": 1.0}))


def test_prior_is_scored_as_any_other_prediction():
    source = open_dataset(DATA)
    prior = source.prior.metrics("val")
    depths = torch.stack([source.splits["train"][i]["labels"]["depth"] for i in range(6)]).mean(0)
    errors = [(depths - source.splits["val"][i]["labels"]["depth"]) ** 2 for i in range(3)]
    assert prior["depth"]["rmse"] == pytest.approx(torch.stack(errors).double().mean().sqrt().item(), rel=1e-5)


def test_evaluation_leaves_the_mode_and_does_not_depend_on_the_batch():
    source = open_dataset(DATA)
    network = MultiTaskNetwork(SMALL, source.tasks).train()
    one = evaluate(network, source.splits["val"], source.tasks, 1, 0, CPU)
    all_at_once = evaluate(network, source.splits["val"], source.tasks, 3, 0, CPU)
    assert network.training
    assert one["depth"] == pytest.approx(all_at_once["depth"], rel=1e-4)


def test_a_run_in_use_is_refused_and_another_configuration_too(tmp_path):
    Run(tmp_path / "run", {"seed": 0, "data": {"height": 96}}, False)
    with pytest.raises(InputError, match="in use"):
        Run(tmp_path / "run", {"seed": 0, "data": {"height": 96}}, False)
    with pytest.raises(InputError, match=r"data\.height was 96 and is now 64"):
        Run(tmp_path / "run", {"seed": 0, "data": {"height": 64}}, True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Run(tmp_path / "file", {}, False)
