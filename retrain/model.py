"""What is trained from scratch: a name, and how the tasks exchange features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiment.config import NetworkSettings
from experiment.errors import InputError
from multitask.network import MultiTaskNetwork, exchange_channels, feature_channels
from multitask.tasks import Task
from retrain.refinements import REFINEMENTS
from search_spaces import Architecture, build_exchange

ARROW = " <- "  # from a pair's source to its target


@dataclass(frozen=True)
class Model:
    """architecture: None for networks without exchange. separate: one network per task instead of one for all.

    own_features: every block reads the target's own features in the source's place, which no architecture.yaml says.
    refinement: a name in `REFINEMENTS`, what stands in the exchange's place. decoder: in the place of network.decoder,
        with its own number of channels. branches: False where `network.branches` does not apply, True where it must be
        set.
    """

    name: str
    architecture: Architecture | None = None
    separate: bool = False
    own_features: bool = False
    refinement: str | None = None
    decoder: str | None = None
    branches: bool | None = None

    def host(self, given: NetworkSettings) -> NetworkSettings:
        """The settings that a run of the model keeps. Raises InputError where a tree is missing."""
        if self.branches and given.branches is None:
            raise InputError(f"network.branches is null: expected the branching.yaml of a search for {self.name}")
        return replace(given, branches=None) if self.branches is False else given

    def settings(self, given: NetworkSettings) -> NetworkSettings:
        """The network's settings: those given, but for a decoder of its own."""
        return given if self.decoder is None else replace(given, decoder=self.decoder, channels=None)

    def build(self, settings: NetworkSettings, tasks: Mapping[str, Task], seed: int = 0) -> MultiTaskNetwork:
        """The network for these tasks, with the auxiliary heads that its blocks read and no others.

        Networks of one seed share the initial weights of the parts that they have in common.
        """
        settings = self.settings(settings)
        if self.refinement is not None:
            refinement = REFINEMENTS[self.refinement](list(tasks), feature_channels(settings), seed)
            return MultiTaskNetwork(settings, tasks, refinement, seed=seed)
        if self.architecture is None:
            return MultiTaskNetwork(settings, tasks, seed=seed)
        channels = exchange_channels(settings, self.architecture.scales)
        exchange = build_exchange(self.architecture, channels, seed=seed, own_features=self.own_features)
        return MultiTaskNetwork(settings, tasks, exchange, exchange.region_tasks(), seed=seed)

    def identity(self) -> dict[str, Any]:
        """What model.json holds, so that a resumed or a later seed is of the same model."""
        architecture = self.architecture
        if architecture is None:
            others = {"refinement": self.refinement, "decoder": self.decoder}
            return {"model": self.name, "exchanges": None} | {key: name for key, name in others.items() if name}
        identity = {
            "model": self.name,
            "exchanges": {f"{t}{ARROW}{s}": name for (t, s), name in sorted(architecture.exchanges.items())},
            "aggregator": architecture.aggregator,
            "normalize_messages": architecture.normalize_messages,
        }
        return identity | ({"own_features": True} if self.own_features else {})

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any], tasks: Sequence[str]) -> "Model":
        """The model whose `identity` this is, but for `separate`. Raises InputError for a damaged one."""
        try:
            if identity["exchanges"] is None:
                return cls(identity["model"], refinement=identity.get("refinement"), decoder=identity.get("decoder"))
            rows = [(*key.split(ARROW), str(name)) for key, name in identity["exchanges"].items()]
            exchanges = {(target, source): name for target, source, name in rows}
            rule, aggregator = identity["normalize_messages"], str(identity["aggregator"])
        except (KeyError, ValueError, AttributeError) as error:
            raise InputError("model.json is damaged: expected what a retraining writes") from error
        architecture = Architecture(tuple(tasks), exchanges, aggregator, rule)
        return cls(identity["model"], architecture, own_features=identity.get("own_features") is True)


def from_file(path: str, tasks: Sequence[str]) -> Model:
    """An architecture from its file. Raises SpaceError if it is none, InputError if it is for other tasks."""
    architecture = Architecture.load(path)
    if set(architecture.tasks) != set(tasks):
        raise InputError(f"'{path}' is for the tasks {list(architecture.tasks)}: the configuration has {list(tasks)}")
    searched = architecture.provenance.get("source") == "search"
    name = "found" if searched else str(architecture.provenance.get("source", "architecture"))
    return Model(name, architecture)
