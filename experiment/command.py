"""What the commands share: one config file with overrides, one-line errors, exit codes."""

import difflib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from experiment.errors import InputError
from experiment.interruption import Interrupted


def exit_code(command: Callable[[], None], bad_input: tuple[type[Exception], ...]) -> int:
    """Runs a command: 0 done; 2 bad input, in one line on stderr; 130 interrupted by Ctrl-C or SIGTERM."""
    # libraries' remarks about each other are nothing that a user can act on
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(lightning|torch)")
    in_main = threading.current_thread() is threading.main_thread()  # elsewhere Python refuses handlers
    former = signal.signal(signal.SIGTERM, _interrupt) if in_main else None
    try:
        command()
        return 0
    except bad_input as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"interrupted: {stop}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left, and the work may not be done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        if former is not None:
            signal.signal(signal.SIGTERM, former)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def config_parser(config: type, program: str, description: str) -> ArgumentParser:
    """A parser of `--config FILE` and an override `--any.key VALUE` for each field of a configuration dataclass."""
    parser = ArgumentParser(
        prog=program,
        description=description,
        exit_on_error=False,
        default_env=False,
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with the configuration (required)")
    parser.add_class_arguments(config, fail_untyped=True)
    return parser


def parse_config(parser: ArgumentParser, config: type, arguments: Sequence[str]) -> tuple[Any, Namespace]:
    """The configuration, and the command's other arguments.

    Raises InputError for an unknown key, a value of the wrong type, or a file that cannot be read.
    """
    options = _options(parser)
    dotted = [name for name in options if name.partition(".")[0] in config.__dataclass_fields__]  # type: ignore[attr-defined]
    _check_options(arguments, options)
    arguments = list(arguments)
    file = _option(arguments, "--config")
    if file is None and not {"-h", "--help"} & set(arguments):
        raise InputError("--config is missing: expected a YAML file, such as configs/demo.yaml")
    content = {} if file is None else read_config(file, dotted)
    try:
        parser.parse_object(content)  # checks the file by itself: a bad value must not hide behind an override
        # the file's values become defaults, which the command line then overrides
        parser.set_defaults(_flatten(content, dotted))
        found = parser.parse_args(arguments)
        built = parser.instantiate_classes(found)
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{_one_line(error)}{' in ' + str(file) if file else ''}") from error
    fields = config.__dataclass_fields__  # type: ignore[attr-defined]
    return config(**{name: built[name] for name in fields}), built


def read_config(file: str, known: Sequence[str]) -> dict[str, Any]:
    """A YAML file whose keys are all known. Raises InputError otherwise."""
    path = Path(file)
    if not path.is_file():
        raise InputError(f"--config '{file}': no such file")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--config '{file}' is not valid YAML: {_one_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(
            f"--config '{file}' holds {type(content).__name__}: expected groups such as data: and training:"
        )
    groups = {key.partition(".")[0] for key in known if "." in key}
    for key, value in content.items():
        if key in groups and not isinstance(value, dict):
            raise InputError(f"'{key}' in {file} is {value!r}: expected a group of keys")
    for key in _flatten(content, known):
        if key not in known:
            raise _unknown_key(key, known, f" in {file}")
    return content


def _flatten(content: dict[str, Any], known: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value}; a mapping that is itself a known key's value stays whole."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and dotted not in known:
            flat.update(_flatten(value, known, f"{dotted}."))
        else:
            flat[dotted] = value
    return flat


def _options(parser: ArgumentParser) -> list[str]:
    """The names of all options, without the groups, which have keys below them."""
    names = [name[2:] for action in parser._actions for name in action.option_strings if name.startswith("--")]
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _option(arguments: list[str], name: str) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def _check_options(arguments: Sequence[str], known: Sequence[str]) -> None:
    for argument in arguments:
        if argument.startswith("--") and len(argument) > 2:
            key = argument[2:].partition("=")[0]
            # a key below a mapping-valued key, such as loss_weights.weights.edge, is fine
            if key not in known and not any(key.startswith(f"{name}.") for name in known if "." in name):
                raise _unknown_key(key, known, "")


def _unknown_key(key: str, known: Sequence[str], where: str) -> InputError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return InputError(f"unknown key '{key}'{where}: expected one of those that --help lists; nearest: '{near[0]}'")


def _one_line(error: Exception) -> str:
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return text.replace('Parser key "', 'key "').removesuffix(".")
