"""Kills runs of every kind at random moments, resumes them, and compares with a run that was never stopped.

python -m tests.support.killing --kills 25 --kinds evidence
"""

import argparse
import csv
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
import yaml

from tests.support.forked import Command, run

TRAINING = ["--training.checkpoint_every=2", "--training.iterations=12"]
SEARCH = [*TRAINING, "--space.blocks=[none, global, xtam]", "--data.train_images=16"]
STUDY = ["--loss_weights.only=true", "--loss_weights.trials=3", "--loss_weights.sampler=grid"]
STUDY += [
    "--space.blocks=[none, xtam]",
    "--loss_weights.grid={depth: [0.5, 1, 2]}",
    "--loss_weights.validations=1",
    "--training.iterations=3",
]
RETRAIN = [*TRAINING, "--training.validate_every=3", "--data.test_images=3"]
KINDS = {
    **{
        name: ("search", [f"--search.strategy={name}", *SEARCH])
        for name in ("evidence", "gumbel", "darts", "gdas", "score", "guided")
    },
    **{
        name: ("search", [f"--search.strategy={name}", f"--search.{name}.samples=4", *SEARCH])
        for name in ("random", "evolution", "tpe")
    },
    "loss_weights": ("search", STUDY),
    "multi_task": ("retrain", ["--baseline=multi_task", *RETRAIN]),
    "single_task": ("retrain", ["--baseline=single_task", *RETRAIN]),
}
EQUAL = {"config.yaml", "run.json", "model.json", "prior.json", "selection.csv", "choices.csv", "architecture.yaml"}
EQUAL |= {"samples.csv", "effects.csv"}
MEASURED = ("train_seconds", "choice_seconds", "peak_memory_bytes")


def differences(one, other):
    """The files of two run folders that differ in what a run computes; both must hold the same files."""
    names = [sorted(str(path.relative_to(folder)) for path in _results(folder)) for folder in (one, other)]
    if names[0] != names[1]:
        return sorted(set(names[0]) ^ set(names[1]))
    return [name for name in names[0] if _content(one / name) != _content(other / name)]


def _results(folder):
    for path in folder.rglob("*"):
        trial = "loss_weights" in path.relative_to(folder).parts  # numbered anew where one was killed
        if path.is_file() and not trial and not path.name.startswith("events.") and ".previous." not in path.name:
            yield path


def _content(path):
    if path.name in EQUAL:
        return path.read_bytes()
    if path.name == "metrics.json":
        return {key: value for key, value in json.loads(path.read_text()).items() if key not in MEASURED}
    if path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        return {key: _plain(state[key]) for key in ("network", "step", "best", "last", "validation") if key in state}
    if path.name == "loss_weights_trials.csv":
        return Counter((row["depth"], row["state"], row["delta_m"]) for row in csv.DictReader(path.open()))
    if path.name == "loss_weights.yaml":
        content = yaml.safe_load(path.read_text())
        return content["weights"], content["provenance"]["delta_m"]
    return None  # measured times


def _plain(content):
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    return content.tolist() if isinstance(content, torch.Tensor) else content


def killed_and_resumed(kind, folder, moment):
    """Starts a run, kills it after so many seconds, resumes it; whether it was killed, and its end."""
    script, arguments = KINDS[kind]
    arguments = [*arguments, "--output", folder]
    log = folder.with_suffix(".log")
    command = Command(script, arguments, log)
    finished = command.wait(moment)
    command.process.kill()
    command.process.join()
    return not finished, run(script, [*arguments, "--resume"], log)


def harness(kind, kills, folder, draw):
    """Kills as many runs of a kind; returns what went wrong, a line each."""
    script, arguments = KINDS[kind]
    whole = folder / "whole"
    began = time.monotonic()
    done = run(script, [*arguments, "--output", whole], folder / "whole.log")
    assert done.returncode == 0, done.stderr
    seconds, killed, number, wrong = time.monotonic() - began, 0, 0, []
    while killed < kills:
        number += 1
        moment, run_folder = draw.uniform(0.05, 0.95) * seconds, folder / f"run_{number}"
        counted, end = killed_and_resumed(kind, run_folder, moment)
        killed += counted
        left = [path.name for path in run_folder.rglob(".*")]
        found = differences(whole, run_folder) if end.returncode == 0 else [f"exit code {end.returncode}: {end.stderr}"]
        if found or left:
            wrong.append(f"{kind}, run {number}, killed after {moment:.2f} s: differs in {found}, left {left}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind in options.kinds:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            wrong = harness(kind, options.kills, Path(folder), random.Random(options.seed))
        print(f"{kind}: {options.kills} kills, {len(wrong)} differences, {time.monotonic() - began:.0f} s", flush=True)
        for line in wrong:
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
