"""The weights of the tasks' losses: given, read from a file, or learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from experiment.config import LossWeightSettings
from experiment.config.loss_weights import usable
from experiment.documents import read_yaml
from experiment.errors import InputError, unknown
from multitask.sending import read
from multitask.tasks import TASKS, Task

VERSION = 1  # of loss_weights.yaml


class UncertaintyWeighting(nn.Module):
    """exp(-s) L + s for each task's loss L, with a learned log-variance s that starts at 0.

    Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR 2018, equation 10, without the
    factors that distinguish regression from classification there.
    """

    def __init__(self, tasks: Sequence[str]):
        super().__init__()
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in tasks})

    def forward(self, task: str, loss: Tensor) -> Tensor:
        s = self.log_variances[task]
        return torch.exp(-s) * loss + s

    def factors(self) -> dict[str, Tensor]:
        """exp(-s) of each task."""
        return {name: (-s.detach()).exp() for name, s in self.log_variances.items()}

    def weights(self) -> dict[str, float]:
        return read(self.factors())


def loss_weights(tasks: Mapping[str, Task], settings: LossWeightSettings) -> dict[str, float]:
    """One weight per task; 1 where weights are learned. Raises InputError for settings that cannot be used."""
    check_weighting(settings, list(tasks))
    if settings.method == "uncertainty":
        return dict.fromkeys(tasks, 1.0)
    if settings.file is not None:
        return read_weights(settings.file, list(tasks))
    return {name: settings.weights.get(name, task.loss_weight) for name, task in tasks.items()}


def check_weighting(settings: LossWeightSettings, tasks: Sequence[str]) -> None:
    """Raises InputError for settings that do not fit the tasks; those of tasks that are not selected are ignored."""
    for key, weights in (("weights", settings.weights), ("grid", settings.grid)):
        for name in weights:
            if name not in tasks and name not in TASKS:
                raise unknown(f"task in loss_weights.{key}", name, dict.fromkeys([*tasks, *TASKS]))


def dump_weights(weights: Mapping[str, float], provenance: Mapping[str, Any]) -> str:
    """The text of loss_weights.yaml."""
    content = {"version": VERSION, "tasks": list(weights), "weights": dict(weights), "provenance": dict(provenance)}
    return yaml.safe_dump(content, sort_keys=False)


def read_weights(path: str | Path, tasks: Sequence[str]) -> dict[str, float]:
    """The weights in a loss_weights.yaml. Raises InputError if there are none or they are for other tasks."""
    content = read_yaml(path, f"the file of loss weights '{path}'")
    weights = content.get("weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise InputError(f"'{path}' holds no loss weights: expected version, tasks and weights")
    if content.get("version") != VERSION or isinstance(content["version"], bool):
        raise InputError(f"loss weights '{path}' are of version {content.get('version')}: expected {VERSION}")
    if set(weights) != set(tasks):
        raise InputError(f"'{path}' is for the tasks {list(weights)}: the configuration has {list(tasks)}")
    for name, weight in weights.items():
        if not usable(weight):
            raise InputError(f"the weight of {name} in '{path}' is {weight!r}: expected a positive number")
    return {name: float(weights[name]) for name in tasks}
