"""What can be trained from scratch: an architecture, or a baseline by name."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from experiment.config import NetworkSettings
from experiment.errors import InputError, unknown
from multitask.network import MultiTaskNetwork, feature_channels
from multitask.tasks import Task
from search_spaces import Architecture, Exchange, SearchSpace

BASELINES = ("single_task", "multi_task", "random")  # and uniform:BLOCK


@dataclass(frozen=True)
class Model:
    """A name, and how the tasks exchange features: by an architecture, or not at all.

    separate: one network per task instead of one for all.
    """

    name: str
    architecture: Architecture | None = None
    separate: bool = False


def baseline(name: str, space: SearchSpace, seed: int) -> Model:
    """single_task, multi_task (a shared backbone, no exchange), uniform:BLOCK, or random (drawn by seed).

    On the self-pairs where BLOCK is not legal, uniform:BLOCK has none. Raises InputError for an unknown name and
    SpaceError for an unknown block.
    """
    if name == "single_task":
        return Model(name, separate=True)
    if name == "multi_task":
        return Model(name)
    if name == "random":
        return Model(name, Architecture.random(space, seed))
    kind, _, block = name.partition(":")
    if kind != "uniform" or not block:
        raise unknown("baseline", name, (*BASELINES, *(f"uniform:{known}" for known in space.blocks)))
    return Model(name, Architecture.uniform(space.tasks, block, space.aggregator, space.normalize_messages))


def found(path: str, tasks: Sequence[str]) -> Model:
    """An architecture from its file. Raises SpaceError if it is none, InputError if it is for other tasks."""
    architecture = Architecture.load(path)
    if set(architecture.tasks) != set(tasks):
        raise InputError(f"'{path}' is for the tasks {list(architecture.tasks)}: the configuration has {list(tasks)}")
    searched = architecture.provenance.get("source") == "search"
    name = "found" if searched else str(architecture.provenance.get("source", "architecture"))
    return Model(name, architecture)


def build_network(model: Model, settings: NetworkSettings, tasks: dict[str, Task], seed: int = 0) -> nn.Module:
    """The model's network for these tasks, with the auxiliary predictions that its blocks read and no others.

    Networks of one seed share the initial weights of the parts that they have in common.
    """
    if model.architecture is None:
        return MultiTaskNetwork(settings, tasks, seed=seed)
    exchange = Exchange(model.architecture, feature_channels(settings), seed=seed)
    return MultiTaskNetwork(settings, tasks, exchange, exchange.region_tasks(), seed=seed)
