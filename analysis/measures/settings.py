"""The part of a configuration that decides what a network is."""

from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml
from jsonargparse import ArgumentError

from analysis.measures.runs import read_mapping
from experiment.config import DataSettings, NetworkSettings, SpaceSettings
from experiment.config.parsing import config_parser
from experiment.errors import InputError, unknown


@dataclass(frozen=True)
class Settings:
    """The groups of a configuration that are read here; the others say how a network is trained.

    Args:
        data: what is learned from.
        network: encoder, decoder and heads.
        space: which blocks compete.
    """

    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)


GROUPS = {"data": DataSettings, "network": NetworkSettings, "space": SpaceSettings}


def read_settings(path: str | Path) -> Settings:
    """Of a run's config.yaml or of a config file of one's own, whose missing keys have their defaults.

    Raises InputError for an unknown key or a value of the wrong type.
    """
    path = Path(path)
    content = {name: group for name, group in read_mapping(path, yaml.safe_load).items() if name in GROUPS}
    for name, group in content.items():
        if not isinstance(group, dict):
            raise InputError(f"'{name}' in '{path}' is {group!r}: expected a group of keys")
        for key in group:
            known = [item.name for item in fields(GROUPS[name])]
            if key not in known:
                raise unknown(f"key of {name} in '{path}'", key, known)
    parser = config_parser(Settings, "analysis", "")
    try:
        built = parser.instantiate_classes(parser.parse_object(content))
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"'{path}': {error}") from error
    return Settings(built["data"], built["network"], built["space"])
