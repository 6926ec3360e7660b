"""What is trained from scratch: a name, and how the tasks exchange features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiment.config import NetworkSettings
from experiment.errors import InputError
from multitask.network import MultiTaskNetwork, feature_channels
from multitask.tasks import Task
from search_spaces import Architecture, Exchange


@dataclass(frozen=True)
class Model:
    """architecture: None for networks without exchange. separate: one network per task instead of one for all."""

    name: str
    architecture: Architecture | None = None
    separate: bool = False

    def build(self, settings: NetworkSettings, tasks: Mapping[str, Task], seed: int = 0) -> MultiTaskNetwork:
        """The network for these tasks, with the auxiliary heads that its blocks read and no others.

        Networks of one seed share the initial weights of the parts that they have in common.
        """
        if self.architecture is None:
            return MultiTaskNetwork(settings, tasks, seed=seed)
        exchange = Exchange(self.architecture, feature_channels(settings), seed=seed)
        return MultiTaskNetwork(settings, tasks, exchange, exchange.region_tasks(), seed=seed)

    def identity(self) -> dict[str, Any]:
        """What model.json holds, so that a resumed or a later seed is of the same model."""
        architecture = self.architecture
        if architecture is None:
            return {"model": self.name, "exchanges": None}
        return {
            "model": self.name,
            "exchanges": {f"{t} <- {s}": name for (t, s), name in sorted(architecture.exchanges.items())},
            "aggregator": architecture.aggregator,
            "normalize_messages": architecture.normalize_messages,
        }


def from_file(path: str, tasks: Sequence[str]) -> Model:
    """An architecture from its file. Raises SpaceError if it is none, InputError if it is for other tasks."""
    architecture = Architecture.load(path)
    if set(architecture.tasks) != set(tasks):
        raise InputError(f"'{path}' is for the tasks {list(architecture.tasks)}: the configuration has {list(tasks)}")
    searched = architecture.provenance.get("source") == "search"
    name = "found" if searched else str(architecture.provenance.get("source", "architecture"))
    return Model(name, architecture)
