"""From YAML files and command lines to a checked configuration, by jsonargparse."""

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_loader

from experiment.config.search import unread
from experiment.config.shipped import find_config
from experiment.documents import StrictLoader, read_yaml
from experiment.errors import InputError

T = TypeVar("T")
RESETS = {"network.backbone": "network.backbone_options"}  # another value of the first drops the file's second
# what jsonargparse raises for a value that does not fit
WRONG = (ArgumentError, TypeError, ValueError, KeyError, ArithmeticError, RecursionError)
HERE = " (on the command line)"


class ArgumentLoader(StrictLoader):
    """On a command line 1e-3 is a number in every place, as JSON has it; in a file, where the key is one."""


FLOAT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
ArgumentLoader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789"))
set_loader("yaml", lambda text: yaml.load(text, ArgumentLoader), (yaml.YAMLError,))


def config_parser(config: type, program: str, description: str, usage: str = "") -> ArgumentParser:
    """A parser of `--config FILE` and of an override `--any.key VALUE` for each field of the configuration."""
    parser = ArgumentParser(
        prog=program, description=description, usage=usage or None, exit_on_error=False, default_env=False
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file, or the name of a shipped one, such as demo; by default every key has its default",
    )
    parser.add_class_arguments(config, fail_untyped=True)
    for action in parser._actions:  # a whole group is given in the file, not as an option
        if any(name[2:] in _groups(config) for name in action.option_strings):
            action.help = argparse.SUPPRESS
        for option in [name for name in action.option_strings if name.endswith("_")]:
            action.option_strings = [option.removesuffix("_")]
            parser._option_string_actions[option.removesuffix("_")] = parser._option_string_actions.pop(option)
    return parser


def parse_config(parser: ArgumentParser, config: type[T], arguments: Sequence[str]) -> tuple[T, Namespace]:
    """The configuration, and the command's other arguments.

    Raises InputError for an unknown key, a value of the wrong type, a file that cannot be read, and an override that
    the chosen strategy does not read.
    """
    options = _options(parser, config)
    overrides = _check_options(arguments, options)
    twice = next((key for key in overrides if overrides.count(key) > 1), None)
    if twice is not None:
        raise InputError(f"--{twice} is given {overrides.count(twice)} times: expected it once")
    file = _option(arguments, "--config")
    if file is not None:
        content = _read(find_config(file), f"--config '{file}'", known_keys(config))
        alone = _parse_object(parser, content, f" (in '{file}')")  # by itself: an override must not hide a bad value
        values = _flatten(content, known_keys(config))
        for key, dependent in RESETS.items():
            if dependent not in overrides and _option(arguments, f"--{key}") not in (None, values.get(key)):
                values.pop(dependent, None)
        parser.set_defaults(values)
    try:
        parsed = parser.parse_args(list(arguments))
    except WRONG as error:
        raise _as_input_error(error, HERE) from error
    try:
        made, built = _made(parser, config, parsed)
    except InputError as error:
        in_file = file is not None and _refused(parser, config, alone) == str(error)
        raise InputError(f"{error} (in '{file}')" if in_file else f"{error}{HERE}") from error
    strategy = getattr(getattr(made, "search", None), "strategy", None)
    unused = unread(strategy, overrides) if strategy is not None else None
    if unused is not None:
        raise InputError(
            f"--{unused}: the strategy {strategy} does not read it; expected a key of search.{strategy}, or another "
            "--search.strategy"
        )
    return made, built


def load(config: type[T], path: str | Path) -> T:
    """The configuration in a file. Raises InputError as `parse_config`."""
    path = Path(path)
    content = _read(path, f"'{path}'", known_keys(config))
    parser = _file_parser(config)  # type: ignore[arg-type]
    parsed = _parse_object(parser, content, f" (in '{path}')")
    try:
        return _made(parser, config, parsed)[0]
    except InputError as error:
        raise InputError(f"{error} (in '{path}')") from error


@cache
def _file_parser(config: type) -> ArgumentParser:
    """Of files alone; making one takes longer than reading a file."""
    return config_parser(config, "config", "")


def _parse_object(parser: ArgumentParser, content: dict[str, Any], where: str) -> Namespace:
    try:
        return parser.parse_object(content)
    except WRONG as error:
        raise _as_input_error(error, where) from error


def _made(parser: ArgumentParser, config: type[T], parsed: Namespace) -> tuple[T, Namespace]:
    """The checked configuration, and all that was parsed."""
    try:
        built = parser.instantiate_classes(parsed)
        return config(**{item.name: built[item.name] for item in fields(config)}), built  # type: ignore[arg-type]
    except WRONG as error:
        raise _as_input_error(error, "") from error


def _refused(parser: ArgumentParser, config: type, parsed: Namespace) -> str | None:
    """Why these values make no configuration; None where they do."""
    try:
        _made(parser, config, parsed)
    except InputError as error:
        return str(error)
    return None


def _as_input_error(error: Exception, where: str) -> InputError:
    cause: BaseException | None = error
    while cause is not None:  # a group's own check explains more than what jsonargparse makes of it
        if isinstance(cause, InputError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return InputError(f"{_one_line(error)}{where}")


def _read(path: Path, shown: str, known: Sequence[str]) -> dict[str, Any]:
    """A YAML file whose keys are all known. Raises InputError otherwise."""
    content = read_yaml(path, shown)
    if content is None:
        raise InputError(f"{shown} is empty: expected groups such as data: and training:")
    if not isinstance(content, dict):
        raise InputError(f"{shown} holds {type(content).__name__}: expected groups such as data: and training:")
    _check_groups(content, known, path)
    for key in _flatten(content, known):
        if key not in known:
            raise _unknown_key(key, known, f" in {path}")
    search = content.get("search")
    if search and "from" in search:
        search["from_"] = search.pop("from")
    return content


def _check_groups(content: Mapping[str, Any], known: Sequence[str], path: Path, prefix: str = "") -> None:
    for key, value in content.items():
        dotted = f"{prefix}{key}"
        if dotted in known or not any(name.startswith(f"{dotted}.") for name in known):
            continue
        if not isinstance(value, dict):
            raise InputError(f"'{dotted}' in {path} is {value!r}: expected a group of keys")
        _check_groups(value, known, path, f"{dotted}.")


def known_keys(config: Any, prefix: str = "") -> list[str]:
    """The dotted names of all values of a configuration."""
    names = []
    for item in fields(config):
        dotted = f"{prefix}{item.name.removesuffix('_')}"  # Python keeps `from` for itself
        names += known_keys(item.default_factory, f"{dotted}.") if is_dataclass(item.default_factory) else [dotted]
    return names


def _groups(config: Any, prefix: str = "") -> list[str]:
    """The dotted names of all groups of a configuration."""
    names: list[str] = []
    for item in fields(config):
        if is_dataclass(item.default_factory):
            names += [f"{prefix}{item.name}", *_groups(item.default_factory, f"{prefix}{item.name}.")]
    return names


def _flatten(content: Mapping[str, Any], known: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value}; a mapping that is itself a known key's value stays whole."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and dotted not in known:
            flat.update(_flatten(value, known, f"{dotted}."))
        else:
            flat[dotted] = value
    return flat


def _options(parser: ArgumentParser, config: type) -> list[str]:
    """The names of all options, without those of whole groups."""
    names = [name[2:] for action in parser._actions for name in action.option_strings if name.startswith("--")]
    return [name for name in names if name not in _groups(config)]


def _option(arguments: Sequence[str], name: str) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def _check_options(arguments: Sequence[str], known: Sequence[str]) -> list[str]:
    """The keys of the options that are given. Raises InputError for an unknown one."""
    given = []
    for argument in arguments:
        if argument.startswith("--") and len(argument) > 2:
            key = argument[2:].partition("=")[0]
            # a key below a mapping-valued key, such as loss_weights.weights.edge, is fine
            if key not in known and not any(key.startswith(f"{name}.") for name in known if "." in name):
                raise _unknown_key(key, known, "")
            given.append(key)
    return given


def _unknown_key(key: str, known: Sequence[str], where: str) -> InputError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return InputError(f"unknown key '{key}'{where}: expected one of those that --help lists; nearest: '{near[0]}'")


def _one_line(error: Exception) -> str:
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return text.replace('Parser key "', 'key "').replace('_":', '":').removesuffix(".")
