"""The trained network of a run, ready for photos. The data that it was trained on is not needed."""

import shlex
from pathlib import Path

import torch

from deployment.predictor import Predictor
from experiment.calls import call
from experiment.errors import InputError
from experiment.run import RETRAINING, read_identity
from multitask.data import open_dataset
from retrain.interface import INTERFACE, Interface
from retrain.loading import load_network, read_config
from search_spaces import SpaceError


def load(run: str | Path, *, seed: int | None = None, device: str | torch.device = "cpu") -> Predictor:
    """The network of a retrain run, with the weights that were best on validation, in eval mode.

    run: its folder, or that of one seed; seed: which of its seeds, by default the first that is finished.

    Raises InputError if there is no such network.
    """
    folder = find_seed(Path(run), seed)
    config = read_config(folder)
    if (folder / INTERFACE).is_file():
        interface = Interface.read(folder)
        tasks = interface.tasks(config.data)
    else:  # of an earlier version: its data knows
        dataset = open_dataset(config.data)
        interface, tasks = Interface.of(dataset, config.data), dataset.tasks
    try:
        network, _ = load_network(folder, config, tasks)
    except SpaceError as error:
        raise InputError(f"'{folder}': {error}") from error
    return Predictor(network, tasks, (config.data.height, config.data.width), interface).to(device)


def find_seed(run: Path, seed: int | None = None) -> Path:
    """The folder of a finished seed. Raises InputError where there is none, and says what the folder is instead."""
    if not run.is_dir():
        raise InputError(f"'{run}' does not exist: expected the folder of a retraining")
    seeds = sorted(run.glob("seed_*"), key=lambda folder: (len(folder.name), folder.name))
    if seeds:
        finished = [folder for folder in seeds if (folder / "metrics.json").is_file()]
        if not finished:
            raise InputError(f"'{run}' has no finished seed: expected a retraining that has ended, or --resume it")
        if seed is None:
            return finished[0]
        if run / f"seed_{seed}" not in finished:
            raise InputError(f"'{run}' has no finished seed {seed}: expected {', '.join(f.name for f in finished)}")
        return run / f"seed_{seed}"
    arms = sorted(folder.parent.name for folder in run.glob("*/seed_*"))
    if arms:
        raise InputError(f"'{run}' holds several models: expected one of them, such as '{run / arms[0]}'")
    if not (run / "config.yaml").is_file():
        raise InputError(f"'{run}' is no run: expected the folder of a retraining")
    if read_identity(run).kind != RETRAINING:
        raise InputError(
            f"'{run}' is a search, which keeps no trained network of what it found: expected a retraining of it:",
            f"{call('retrain')} --config {shlex.quote(f'{run}/config.yaml')} "
            f"--architecture {shlex.quote(f'{run}/architecture.yaml')} --output {shlex.quote(f'{run}_found')}",
        )
    if not (run / "metrics.json").is_file():
        raise InputError(f"'{run}' is not finished: expected a retraining that has ended, or --resume it")
    if seed is not None and run.name != f"seed_{seed}":
        raise InputError(f"'{run}' is one seed, and seed {seed} is asked for: expected the folder of all seeds")
    return run
