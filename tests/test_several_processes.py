"""Commands in two processes against one with the same batches; one of them killed; what is refused."""

import csv
import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support import forked, several
from tests.support.commands import assert_one_line, search

# steps of Adam would make of a gradient that is rounding alone a whole step; the batch is one that three do not divide
TINY = ["--training.optimizer=sgd", "--training.batch_size=4", "--space.blocks=[none, xtam, padnet_gate]"]
TINY += ["--training.iterations=6", "--training.checkpoint_every=2", "--data.train_images=12"]
TINY += ["--training.log_every=1"]


def assert_alike(one, two):
    """The same weights and losses of all steps to 1e-5, and the same choice."""
    losses = [logged_losses(folder) for folder in (one, two)]
    assert losses[0] and losses[0].keys() == losses[1].keys()
    for name, values in losses[0].items():
        assert values == pytest.approx(losses[1][name], rel=1e-5), name
    paths = sorted(path.relative_to(one) for path in one.rglob("last.pt"))
    assert paths and paths == sorted(path.relative_to(two) for path in two.rglob("last.pt"))
    for path in paths:
        networks = [torch.load(folder / path, weights_only=True)["network"] for folder in (one, two)]
        for state in networks:  # the samplers' own states are no tensors
            for name in [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
                del state[name]
        torch.testing.assert_close(*networks, rtol=1e-5, atol=1e-5, msg=lambda text, path=path: f"{path}: {text}")
    names = ("architecture.yaml", "choices.csv")
    for name in [name for name in names if (one / name).is_file()]:
        assert [_plain(one / name), _plain(one / name)] == [_plain(one / name), _plain(two / name)]


def logged_losses(folder):
    """{(training, name): the loss at each step}, from the events of TensorBoard."""
    found = {}
    for part in sorted({path.parent for path in folder.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(part), {"scalars": 0}, purge_orphaned_data=False).Reload()
        for tag in events.Tags()["scalars"]:
            if tag.startswith("loss/"):
                values = {event.step: event.value for event in events.Scalars(tag)}  # of a step twice, the last
                found[str(part.relative_to(folder)), tag] = [values[step] for step in sorted(values)]
    return found


def _plain(path):
    if path.suffix == ".csv":
        return [(row["target"], row["source"], row["block"], row["decided"]) for row in csv.DictReader(path.open())]
    return path.read_text()


@pytest.mark.parametrize(("strategy", "count"), [("score", 2), ("evidence", 2), ("gdas", 3)])
def test_a_search_of_several_processes_equals_that_of_one(tmp_path, strategy, count):
    arguments = [*TINY, "--training.iterations=4", f"--search.strategy={strategy}"]
    assert forked.run("search", [*arguments, "--output", tmp_path / "one"], tmp_path / "one.log").returncode == 0
    done = several.run("search", [*arguments, "--output", tmp_path / "two"], tmp_path / "two", count)
    assert [end.returncode for end in done] == [0] * count, done
    assert "validation" in done[0].stdout and not any(end.stdout for end in done[1:])  # the first prints
    assert_alike(tmp_path / "one", tmp_path / "two")


def test_one_killed_ends_all_and_one_or_two_go_on(tmp_path):
    arguments = [*TINY, "--search.strategy=gumbel", "--search.gumbel.learning_rate=1e-6", "--output"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert forked.run("search", [*arguments, whole], tmp_path / "whole.log").returncode == 0
    first, killed = several.run("search", [*arguments, run], tmp_path / "log", 2, kill_after={1: 1})
    assert killed == -9 and first.returncode == 130
    assert first.stderr.startswith("interrupted: another process") and "--resume" in first.stderr
    first, killed = several.run("search", [*arguments, run, "--resume"], tmp_path / "log", 2, kill_after={1: 1})
    assert killed == -9 and first.returncode == 130
    assert forked.run("search", [*arguments, run, "--resume"], tmp_path / "run.log").returncode == 0
    assert_alike(whole, run)


def test_several_seeds_are_spread_over_the_processes(tmp_path):
    arguments = ["--baseline=multi_task", "--seeds", "0", "1", "2", "--training.iterations=2", "--data.test_images=2"]
    done = several.run("retrain", [*arguments, "--output", tmp_path / "run"], tmp_path / "log", 2)
    assert [end.returncode for end in done] == [0, 0], done
    alone = forked.run("retrain", [*arguments, "--output", tmp_path / "one"], tmp_path / "one.log")
    assert alone.returncode == 0
    for seed in range(3):
        found = [json.loads((tmp_path / name / f"seed_{seed}/metrics.json").read_text()) for name in ("run", "one")]
        assert found[0]["tasks"] == found[1]["tasks"]  # each was trained by one process
        assert found[0]["losses"] == found[1]["losses"]
    assert "seed 1" in done[1].stdout and "seed 1" not in done[0].stdout


def test_trials_of_loss_weights_are_spread_over_the_processes(tmp_path):
    arguments = [
        "--search.strategy=gumbel",
        "--loss_weights.trials=3",
        "--loss_weights.only=true",
        "--loss_weights.validations=1",
    ]
    arguments += ["--training.iterations=2", "--output", tmp_path / "run"]
    done = several.run("search", arguments, tmp_path / "log", 2)
    assert [end.returncode for end in done] == [0, 0], done
    with (tmp_path / "run" / "loss_weights_trials.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
    assert (tmp_path / "run" / "loss_weights.yaml").is_file()
    printed = "".join(end.stdout for end in done)
    # how many each takes is a matter of time: the next process that is free takes the next
    once = [f"\ntrial {number}: " for number in range(3)] + ["reference: semseg", "reference: depth"]
    assert all(f"\n{printed}".count(line) == 1 for line in once), printed


def test_fewer_images_than_processes_are_refused_before_anything_is_written(tmp_path):
    done = several.run("search", ["--search.strategy=gumbel", "--output", tmp_path / "run"], tmp_path / "log", 3)
    assert_one_line(done[0], ["training.batch_size is 2", "each of 3 processes"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", [None, "7", "x"])
def test_an_environment_that_is_not_torchruns_is_refused(monkeypatch, tmp_path, rank):
    monkeypatch.setenv("WORLD_SIZE", "4")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("experiment.command.PAUSE", 0.0)
    done = search("--output", tmp_path / "run")
    assert done.returncode == 2 and "WORLD_SIZE is 4" in done.stderr and "torchrun" in done.stderr
    assert not (tmp_path / "run").exists()
