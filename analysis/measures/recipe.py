"""Which keys of two trainings' configurations must be alike to compare them, and which should be.

The keys are those of the configuration's dataclasses, so that a new one is compared unless it is listed here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from experiment.config import Config

GROUPS = ("data", "network", "training", "loss_weights", "precision")  # what a training follows from
# what decides what a metric means; another value makes another experiment
REFUSED = (
    "data.height",
    "data.width",
    "data.classes",
    "data.test_images",
    "data.empty_classes",
    "data.edge_tolerance",
    "data.sensors",
    "network.backbone",
    "network.backbone_options",
    "network.encoders",
    "network.decoder",
    "network.channels",
)
# what leaves a trained network as it is, or stands in metrics.json: names, places, logging, how loss weights were tuned
IGNORED = (
    "data.name",
    "data.root",
    "data.tasks",
    "data.workers",
    "data.cache",
    "training.log_every",
    "training.checkpoint_every",
    "loss_weights.file",
    "loss_weights.trials",
    "loss_weights.only",
    "loss_weights.sampler",
    "loss_weights.low",
    "loss_weights.high",
    "loss_weights.grid",
    "loss_weights.iterations",
    "loss_weights.validations",
    "loss_weights.storage",
    "loss_weights.study",
)


def keys(config: type, prefix: str = "") -> Iterator[str]:
    """The dotted keys of a configuration's values."""
    types = get_type_hints(config)
    for item in fields(config):
        if is_dataclass(types[item.name]):
            yield from keys(types[item.name], f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}"


def _under(key: str, listed: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in listed)


MUST_MATCH = tuple(key for key in keys(Config) if _under(key, REFUSED))
SHOULD_MATCH = tuple(key for key in keys(Config) if _under(key, GROUPS) and not _under(key, REFUSED + IGNORED))


def values(config: Mapping[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    """{key: its value} of the keys that a stored configuration has."""
    found = {}
    for key in wanted:
        *groups, name = key.split(".")
        content: Any = config
        for group in groups:
            content = content.get(group) if isinstance(content, Mapping) else None
        if isinstance(content, Mapping) and name in content:
            found[key] = content[name]
    return found
