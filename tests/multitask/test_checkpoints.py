"""Checkpoints: sealed, refused when damaged or of something else, the one before used; numbers that are not finite."""

import random
import shutil
from dataclasses import replace

import pytest
import torch

from experiment.errors import InputError
from experiment.run import Run
from multitask.training.checkpoints import (
    DamagedCheckpoint,
    checkpoint_path,
    load_checkpoint,
    previous,
    save_checkpoint,
)
from multitask.training.finite import Diverged, FirstFaults, first_not_finite
from tests.support.training import training

STATES = {step: {"step": step, "network": {"w": torch.full((3,), float(step))}, "best": (0.5, 1)} for step in (2, 4)}


@pytest.fixture
def run(tmp_path):
    """A run with the checkpoints of steps 2 and 4."""
    with Run(tmp_path / "run", {"seed": 0}, False) as run:
        for state in STATES.values():
            save_checkpoint(run, state)
        yield run


def last(run):
    return checkpoint_path(run.folder, "last")


def test_torch_reads_it_and_the_one_before_is_kept(run):
    assert torch.load(last(run), weights_only=True)["step"] == 4
    assert torch.load(previous(last(run)), weights_only=True)["step"] == 2
    assert {path.name for path in last(run).parent.iterdir()} == {"last.pt", "last.previous.pt"}
    loaded = load_checkpoint(run)
    assert loaded["best"] == (0.5, 1) and torch.equal(loaded["network"]["w"], STATES[4]["network"]["w"])


def flipped(data, draw):
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


def test_one_flipped_bit_or_a_cut_anywhere_is_never_read(run, capsys):
    whole, draw = last(run).read_bytes(), random.Random(0)
    for k in range(300):
        damaged = flipped(whole, draw) if k % 2 else whole[: draw.randrange(len(whole))]
        last(run).write_bytes(damaged)
        assert load_checkpoint(run)["step"] == 2
        printed = capsys.readouterr().out
        assert "last.pt' is damaged" in printed and printed.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_both_damaged_or_the_only_one_is_an_error(run, content):
    for path in (last(run), previous(last(run))):
        path.unlink() if content is None else path.write_bytes(content)
    if content is None:
        assert load_checkpoint(run) is None
        with pytest.raises(DamagedCheckpoint, match="is missing: expected the checkpoint of step 3"):
            load_checkpoint(run, "last", 3)
    else:
        with pytest.raises(DamagedCheckpoint, match=r"last\.pt' is damaged .*no earlier one can be used"):
            load_checkpoint(run)


def test_a_checkpoint_of_anything_else_is_refused(run, tmp_path, capsys):
    others = {"another run": Run(tmp_path / "other", {"seed": 1}, False), "first": run.part("first", {})}
    for expected, other in others.items():
        save_checkpoint(other, STATES[4])
        shutil.copy(last(other), last(run))
        assert load_checkpoint(run)["step"] == 2
        assert f"of something else ({expected})" in capsys.readouterr().out
    save_checkpoint(run, STATES[4], "best")
    shutil.copy(checkpoint_path(run.folder, "best"), last(run))
    assert load_checkpoint(run)["step"] == 2 and "something else (best)" in capsys.readouterr().out
    torch.save({**STATES[4], "step": 10**6}, last(run))
    assert load_checkpoint(run)["step"] == 2 and "is damaged" in capsys.readouterr().out


def test_the_step_that_is_wanted_may_be_the_one_before(run):
    assert load_checkpoint(run, "last", 2)["step"] == 2
    with pytest.raises(DamagedCheckpoint, match="is of step 4, expected step 3"):
        load_checkpoint(run, "last", 3)


def test_resumed_from_the_one_before_equals_never_stopped(tmp_path, capsys):
    whole, half = training(tmp_path, "whole", checkpoint_every=2), training(tmp_path, "half", checkpoint_every=2)
    whole.fit()

    def stop(done):
        if done == 5:
            raise KeyboardInterrupt

    half.callback.after_step = stop
    with pytest.raises(KeyboardInterrupt):
        half.fit()
    path = last(half.run)
    path.write_bytes(path.read_bytes()[:-300])
    resumed = training(tmp_path, "half", resume=True, checkpoint_every=2)
    resumed.fit()
    assert "last.previous.pt of step 2 is used" in capsys.readouterr().out
    for key, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], value), key


def test_a_lost_best_is_missed_at_once(tmp_path):
    run = training(tmp_path, validate_every=3)
    run.fit(lambda values: -run.step)  # step 3 stays the best
    best = checkpoint_path(run.run.folder, "best")
    assert load_checkpoint(run.run, "best", 3)["step"] == 3
    best.write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match=r"best\.pt' is damaged"):
        training(tmp_path, resume=True, validate_every=3).fit()
    best.unlink()
    with pytest.raises(DamagedCheckpoint, match=r"best\.pt' is missing"):
        training(tmp_path, resume=True, validate_every=3).fit()


def poisoned(run, step, poison):
    """Does `poison` before a step."""
    before = run.callback.before_step
    run.callback.before_step = lambda now: poison() if now == step else before(now)


def spoil(tensor, value=float("nan")):
    with torch.no_grad():
        tensor.view(-1)[0] = value


@pytest.mark.parametrize("clip_norm", [None, 10.0])
@pytest.mark.parametrize(
    ("spoil_what", "named"),
    [
        (lambda run: spoil(run.network.heads["depth"].weight), "step 5: loss of depth, .*tensor: heads.depth.weight"),
        (lambda run: spoil(run.network.encoder.model.conv1[0].weight, float("inf")), "tensor: encoder.model.conv1.0"),
        (lambda run: setattr(run, "weights", {**run.weights, "depth": 1e39}), "step 5: loss of depth"),
    ],
)  # fmt: skip
def test_what_is_not_finite_ends_the_training_and_no_checkpoint_is_replaced(tmp_path, spoil_what, named, clip_norm):
    run = training(tmp_path, checkpoint_every=2, clip_norm=clip_norm, log_every=6)
    poisoned(run, 4, lambda: spoil_what(run))
    with pytest.raises(Diverged, match=named) as error:
        run.fit()
    assert "training.learning_rate" in str(error.value) and "\n" not in str(error.value)
    assert load_checkpoint(run.run)["step"] == 4
    assert first_not_finite(load_checkpoint(run.run)) is None


def test_a_gradient_that_is_not_finite_is_named(tmp_path):
    run = training(tmp_path, checkpoint_every=2)
    weight = run.network.heads["depth"].weight
    poisoned(run, 4, lambda: weight.register_hook(lambda gradient: gradient * float("inf")))
    with pytest.raises(Diverged, match=r"step 5: norm of the gradients .*gradient of heads\.depth\.weight"):
        run.fit()
    assert load_checkpoint(run.run)["step"] == 4


def test_a_state_of_the_optimizer_that_is_not_finite_is_named(tmp_path):
    run = training(tmp_path, checkpoint_every=2, log_every=6)
    after = run.callback.after_step

    def spoil_state(done):
        after(done)
        if done == 6:
            spoil(next(iter(run.optimizer.state.values()))["exp_avg_sq"])

    run.callback.after_step = spoil_state
    with pytest.raises(Diverged, match=r"step 6: optimizer\.state\.0\.exp_avg_sq"):
        run.fit()
    assert load_checkpoint(run.run)["step"] == 4


def test_predictions_that_are_not_finite_are_no_metrics(tmp_path):
    run = training(tmp_path)
    spoil(run.network.heads["semseg"].bias)  # the most likely class would still be one
    with pytest.raises(Diverged, match=r"step 0, split val: predictions of semseg .*tensor: heads\.semseg\.bias"):
        run.validate("val")


def test_infinities_that_a_block_keeps_on_purpose_are_none_of_the_training(tmp_path):
    def with_mask(tasks):
        network = training(tmp_path, "other").network
        network.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        return network

    run = training(tmp_path, build=with_mask)
    run.fit()
    assert load_checkpoint(run.run)["step"] == 6


def test_the_first_faulty_step_is_kept_until_it_is_read():
    faults, nan = FirstFaults(), float("nan")
    for step, (a, b) in enumerate([(1.0, 2.0), (1.0, nan), (nan, nan), (1.0, 1.0)], 1):
        faults.note(step, {"a": torch.tensor(a), "b": torch.tensor(b)})
    assert faults.first() == (2, ["b"])
    assert FirstFaults().first() is None


def test_a_checkpoint_of_other_code_is_one_line(tmp_path):
    run = training(tmp_path)
    run.fit()
    state = load_checkpoint(run.run)
    state["network"].popitem()
    save_checkpoint(run.run, state)
    with pytest.raises(InputError, match="fits another network"):
        training(tmp_path, resume=True).fit()
    assert replace(run.run.identity, part="x") != run.run.identity
