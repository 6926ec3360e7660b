"""The keys of the configuration, read from its dataclasses, and files that set one of them."""

import dataclasses
import typing
from types import NoneType
from typing import Any


def keys_of(group: type, prefix: str = "") -> dict[str, Any]:
    """{dotted key: type}, of all groups."""
    keys: dict[str, Any] = {}
    hints = typing.get_type_hints(group)
    for item in dataclasses.fields(group):
        if dataclasses.is_dataclass(item.default_factory):
            keys |= keys_of(typing.cast(type, item.default_factory), f"{prefix}{item.name}.")
        else:
            keys[prefix + item.name.removesuffix("_")] = hints[item.name]
    return keys


def groups_of(group: type, prefix: str = "") -> list[str]:
    """The dotted names of all groups."""
    names: list[str] = []
    for item in dataclasses.fields(group):
        if dataclasses.is_dataclass(item.default_factory):
            inner = typing.cast(type, item.default_factory)
            names += [prefix + item.name, *groups_of(inner, f"{prefix}{item.name}.")]
    return names


def kinds(hint: Any) -> set[type]:
    """The plain types that a key's value may have; `list[str] | None` gives list and NoneType."""
    parts = typing.get_args(hint) if typing.get_origin(hint) not in (list, tuple, dict) else (hint,)
    return {typing.get_origin(part) or part for part in parts or (hint,)}


def takes_null(hint: Any) -> bool:
    return NoneType in kinds(hint)


def value_of(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name) if hasattr(config, name) else getattr(config, f"{name}_")
    return config


def nested(key: str, text: str) -> str:
    """A YAML file that sets one key to what `text` says, which may be nothing."""
    names = key.split(".")
    return "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(names[:-1])) + (
        f"{'  ' * (len(names) - 1)}{names[-1]}: {text}\n"
    )
