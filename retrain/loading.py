"""Trained networks back from their run folders, for those who read results."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from experiment.config import Config, DataSettings, TrainingSettings
from experiment.errors import InputError
from experiment.run import Identity, read_identity, read_json
from multitask.data import DatasetSplits, open_dataset
from multitask.data.samples import Image
from multitask.network import MultiTaskNetwork, Outputs
from multitask.tasks import Task
from multitask.training.checkpoints import checkpoint_path, read_checkpoint
from retrain.model import Model
from search_spaces import Architecture


class SeparateNetworks(nn.Module):
    """One network per task, called as if it were one."""

    def __init__(self, networks: dict[str, MultiTaskNetwork]):
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, image: Image, valid: torch.Tensor | None = None) -> Outputs:
        merged = Outputs({}, {})
        for network in self.networks.values():
            outputs = network(image, valid)
            merged.predictions.update(outputs.predictions)
            merged.auxiliary.update(outputs.auxiliary)
        return merged


@dataclass
class Trained:
    """A seed's network in eval mode, on the CPU, with the weights that were best on validation, and its dataset."""

    network: nn.Module
    architecture: Architecture | None
    dataset: DatasetSplits
    data: DataSettings
    training: TrainingSettings


def load_trained(folder: str | Path, data_root: str | None = None) -> Trained:
    """Reads seed_K of a retrain run; `data_root` stands in for a data folder that has moved.

    Raises InputError if the folder holds no finished seed, or its checkpoint is damaged or of another run.
    """
    folder = Path(folder)
    config = read_config(folder)
    data = config.data if data_root is None else replace(config.data, root=data_root)
    dataset = open_dataset(data)
    network, architecture = load_network(folder, config, dataset.tasks)
    return Trained(network, architecture, dataset, data, config.training)


def load_network(
    folder: Path, config: Config, tasks: Mapping[str, Task]
) -> tuple["MultiTaskNetwork | SeparateNetworks", Architecture | None]:
    """The network of seed_K of a retrain run, in eval mode, with the weights that were best on validation, for tasks as
    it was trained for; and its architecture. Raises InputError as `load_trained`.
    """
    identity, steps = read_identity(folder), _best_steps(folder)
    settings = replace(config.network, pretrained=False, init_from=None)  # the checkpoint has the weights
    model = _read_model(folder, tuple(tasks))
    if (folder / "checkpoints").is_dir():
        whole: MultiTaskNetwork | SeparateNetworks = model.build(settings, tasks)
        _load_best(whole, folder, identity, steps.get(next(iter(tasks))))
    else:  # single_task: a run per task
        parts = {}
        for name, task in tasks.items():
            parts[name] = Model("").build(settings, {name: task})
            _load_best(parts[name], folder / name, replace(identity, part=name), steps.get(name))
        whole = SeparateNetworks(parts)
    return whole.eval(), model.architecture


def read_config(folder: Path) -> Config:
    """config.yaml of a run's folder. Raises InputError if there is none."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise InputError(f"'{folder}' is no run: expected a config.yaml in it")
    return Config.load(path)


def _read_model(folder: Path, tasks: tuple[str, ...]) -> Model:
    """From architecture.yaml, or where there is none from model.json, which also knows of own features."""
    path, identity = folder / "architecture.yaml", folder / "model.json"
    if path.is_file():
        return Model("", Architecture.load(path))
    return Model.from_identity(read_json(identity), tasks) if identity.is_file() else Model("")


def _best_steps(folder: Path) -> dict[str, int]:
    """{task: the step whose weights were reported}."""
    steps = read_json(folder / "metrics.json").get("best_step")
    if not isinstance(steps, dict):
        raise InputError(f"'{folder / 'metrics.json'}' has no best_step: expected what a retraining writes")
    return steps


def _load_best(network: nn.Module, folder: Path, identity: Identity, step: int | None) -> None:
    path = checkpoint_path(folder, "best")
    if not path.is_file():
        raise InputError(f"'{folder}' holds no trained network: expected checkpoints/best.pt")
    state = read_checkpoint(path, identity, "best", step)
    try:
        network.load_state_dict(state["network"])
    except (KeyError, RuntimeError) as error:
        raise InputError(f"'{path}' fits another network: expected one of the same code and blocks") from error
