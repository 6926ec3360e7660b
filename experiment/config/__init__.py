"""The configuration of search and retraining: one file a group, each a dataclass that checks itself."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiment.config.checks import no_nulls, one_of
from experiment.config.data import DataSettings
from experiment.config.loss_weights import LossWeightSettings
from experiment.config.network import NetworkSettings
from experiment.config.race import RaceSettings
from experiment.config.search import (
    BranchingSettings,
    DartsSettings,
    EvidenceSettings,
    GdasSettings,
    GuidedSettings,
    GumbelSettings,
    SearchSettings,
)
from experiment.config.sensors import SensorSettings
from experiment.config.space import SpaceSettings
from experiment.config.training import TrainingSettings
from experiment.errors import InputError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("fp32", "bf16")
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Config:
    """Configuration of a run.

    Args:
        data: dataset and preprocessing.
        network: encoder, decoder and heads.
        space: search space.
        search: architecture search.
        loss_weights: weights of the tasks' losses.
        training: optimisation.
        race: comparison by retraining.
        seed: random seed.
        device: auto, cpu or cuda.
        precision: fp32, or bf16 (mixed).
    """

    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    loss_weights: LossWeightSettings = field(default_factory=LossWeightSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    race: RaceSettings = field(default_factory=RaceSettings)
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        """The checks of single keys, and those between groups."""
        no_nulls("", self)
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed is {self.seed}: expected at least 0 and below 2**63")
        one_of("device", self.device, DEVICES)
        if self.precision == "fp16":
            raise InputError(
                "precision is fp16: expected fp32 or bf16; fp16 would need scaled losses, which change the gradients "
                "of selection logits and probes"
            )
        one_of("precision", self.precision, PRECISIONS)
        tasks, weights = self.data.tasks, self.loss_weights
        if weights.trials and len(tasks) < 2:
            raise InputError(
                f"loss_weights.trials is {weights.trials}, but {tasks[0]} is the only task: expected two or more"
            )
        if tasks and tasks[0] in weights.grid:
            raise InputError(
                f"loss_weights.grid names {tasks[0]}, the first task, whose weight is 1: expected other tasks"
            )

    @classmethod
    def load(cls, path: str | Path) -> "Config":
        """Reads a config file, or the config.yaml of a run. Missing keys have their defaults.

        Raises InputError for a file that cannot be read, an unknown key or a value that cannot be used.
        """
        from experiment.config.parsing import load

        return load(cls, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as config.yaml holds them."""
        content = _plain(asdict(self))
        content["search"] = {key.removesuffix("_"): value for key, value in content["search"].items()}
        return content

    def sha256(self) -> str:
        """The digest of config.yaml, by which an architecture names the search that it comes from."""
        return hashlib.sha256(yaml.safe_dump(self.to_dict()).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


__all__ = [
    "BranchingSettings",
    "Config",
    "DartsSettings",
    "DataSettings",
    "EvidenceSettings",
    "GdasSettings",
    "GuidedSettings",
    "GumbelSettings",
    "LossWeightSettings",
    "NetworkSettings",
    "RaceSettings",
    "SearchSettings",
    "SensorSettings",
    "SpaceSettings",
    "TrainingSettings",
]
