"""Gradients of tasks combined by TorchJD: closed forms, a network against its own gradients, resuming, refusals."""

import sys

import pytest
import torch
from torch import nn

from experiment.config.loss_weights import BALANCING
from multitask import processes
from multitask.training.balancing import AGGREGATORS, Balancing
from tests.support.commands import search
from tests.support.refusals import one_line
from tests.support.several import each
from tests.support.training import training

FIRST, SECOND = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])  # gradients in conflict: their product is -1


def combined(method, first=FIRST, second=SECOND, step=0):
    """The gradient of two shared weights, and of one that the first task has for itself."""
    shared, own = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(()))
    losses = {"a": shared @ first + 3 * own, "b": shared @ second}
    Balancing(method, 2, seed=0).backward(losses, [shared, own], step)
    assert own.grad == 3  # what one task alone uses is not balanced
    return shared.grad


def test_every_name_of_the_configuration_is_an_aggregator():
    assert tuple(AGGREGATORS) == BALANCING


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # each gradient without its part against the other: (1, 0) + (-1, 1) / 2, and (-1, 1) + (1, 0)
        ("pcgrad", (0.5, 1.5)),
        ("upgrad", (0.5, 1.5)),  # the same, since each projection already agrees with both
        ("dualproj", (0.0, 1.0)),  # the sum, which conflicts with neither
        ("mgda", (0.2, 0.4)),  # the shortest of s (1, 0) + (1 - s) (-1, 1), at s = 0.6
    ],
)
def test_two_gradients_in_conflict_by_hand(method, expected):
    assert combined(method).tolist() == pytest.approx(expected, abs=2e-3)  # a small number makes the quadratic regular


@pytest.mark.parametrize("method", ["upgrad", "dualproj", "pcgrad"])
def test_gradients_without_conflict_add_up(method):
    assert combined(method, FIRST, FIRST - SECOND).tolist() == pytest.approx([3, -1], abs=2e-3)


def test_properties_of_the_others():
    direction = combined("imtl_g")  # projects alike on both unit gradients
    assert direction @ FIRST == pytest.approx(float(direction @ SECOND / SECOND.norm()), rel=1e-4)
    aligned = combined("aligned_mtl")
    assert aligned @ FIRST > 0 and aligned @ SECOND > 0
    drops = {tuple(combined("graddrop", step=step).tolist()) for step in range(20)}
    assert drops == {(1.0, 1.0), (-1.0, 1.0)}  # of the first weight one sign survives, drawn anew at each step
    assert torch.equal(combined("graddrop", step=3), combined("graddrop", step=3))


def test_a_networks_gradients_are_combined_where_tasks_share_them(tmp_path):
    trainer = training(tmp_path, balancing="pcgrad", clip_norm=None)
    sample = next(iter(trainer.loader(trainer.recipe.dataset.splits["train"], 0, 1)))
    batch = trainer.augment(sample, trainer.device)
    names = [name for name, _ in trainer.network.named_parameters()]

    def gradients(*tasks):
        losses = trainer.losses(trainer.model(batch.image, batch.valid), batch)
        trainer.network.zero_grad()
        if len(tasks) == 2:
            trainer.balancing.backward(losses, trainer.parameters, 0)
        else:
            losses[tasks[0]].backward()
        return {name: p.grad for name, p in trainer.network.named_parameters() if p.grad is not None}

    semseg, depth, both = gradients("semseg"), gradients("depth"), gradients("semseg", "depth")
    shared = [name for name in names if name in semseg and name in depth]
    a, b = (torch.cat([of[name].flatten() for name in shared]) for of in (semseg, depth))
    found = torch.cat([both[name].flatten() for name in shared])
    product = a @ b
    expected = a + b if product >= 0 else a - product / (b @ b) * b + b - product / (a @ a) * a
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    alone = [name for name in names if name not in shared]
    assert any(name.startswith("heads.depth") for name in alone)
    for name in alone:
        torch.testing.assert_close(both[name], {**semseg, **depth}[name])


def test_resuming_equals_never_having_stopped(tmp_path):
    whole = training(tmp_path, "whole", balancing="graddrop")
    whole.fit()
    half = training(tmp_path, "half", balancing="graddrop", checkpoint_every=3)
    step, half.train_step = half.train_step, lambda batch: 1 / 0 if half.step == 4 else step(batch)
    with pytest.raises(ZeroDivisionError):
        half.fit()
    resumed = training(tmp_path, "half", resume=True, balancing="graddrop")
    resumed.fit()
    for key, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], value), key


def test_two_processes_combine_the_gradients_of_the_whole_batch(tmp_path):
    pulls = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))  # of each task and image

    def gradient():
        part = processes.share(5)
        weight = nn.Parameter(torch.ones(3))
        with processes.sharing():
            sums = [processes.summed((own[part.first : part.last] @ weight).square().sum())[0] for own in pulls]
            Balancing("mgda", 2, seed=0).backward(dict(zip("ab", sums)), [weight], 0)
        return weight.grad

    one = gradient()
    for of_process in each(gradient, 2, tmp_path):
        torch.testing.assert_close(of_process, one)


def test_what_cannot_be_balanced_is_one_line(tmp_path, monkeypatch):
    done = search("--output", tmp_path / "run", "--loss_weights.method=pcgrad")  # by the strategy gumbel
    assert done.returncode == 2 and "gumbel learns logits by the sum of the losses" in one_line(done.stderr)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    done = search(
        "--output", tmp_path / "run", "--search.strategy=score", "--data.train_images=8", "--loss_weights.method=pcgrad"
    )
    assert done.returncode == 2 and "pcgrad, which needs torchjd" in one_line(done.stderr)
    assert not (tmp_path / "run").exists()
