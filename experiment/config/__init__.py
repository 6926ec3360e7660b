"""The whole configuration that drives search and retraining: one file a group."""

from dataclasses import asdict, dataclass, field
from typing import Any

from experiment.config.data import DataSettings
from experiment.config.loss_weights import LossWeightSettings
from experiment.config.network import HRNET_WIDTHS, NetworkSettings, backbone_width
from experiment.config.search import SearchSettings, SelectionSettings
from experiment.config.space import SpaceSettings
from experiment.config.training import TrainingSettings


@dataclass(frozen=True)
class Config:
    """Everything that a config file may say.

    Args:
        data: what is learned from.
        network: the backbone and the head.
        space: which blocks compete.
        selection: how the choice is relaxed.
        search: the search itself.
        loss_weights: how the tasks' losses are weighed.
        training: how weights are learned.
        seed: of everything random.
        device: auto, cpu or cuda.
        precision: fp32 or bf16 (mixed).
    """

    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    loss_weights: LossWeightSettings = field(default_factory=LossWeightSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as config.yaml holds them."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


__all__ = [
    "HRNET_WIDTHS",
    "Config",
    "DataSettings",
    "LossWeightSettings",
    "NetworkSettings",
    "SearchSettings",
    "SelectionSettings",
    "SpaceSettings",
    "TrainingSettings",
    "backbone_width",
]
