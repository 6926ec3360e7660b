"""A user's own class by its import path, `package.module:Class`."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from inspect import getattr_static
from pathlib import Path
from typing import Any

from torch import nn

from experiment.errors import InputError, unknown


def import_class(key: str, path: str, base: type = nn.Module, needs: Sequence[str] = ()) -> type:
    """The class at `package.module:Class`; modules of the working directory are found too.

    key: of the configuration, for messages; needs: what the class must have beside what `base` declares abstract.
    Raises InputError if there is no such class, it does not extend `base`, or it lacks something.
    """
    module_name, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{key} '{path}' cannot be imported ({reason}): expected package.module:Class") from error
    value = getattr(module, name, None)
    if value is None:
        raise unknown(f"{key} in {module_name}", name, [other for other in vars(module) if not other.startswith("_")])
    if not (isinstance(value, type) and issubclass(value, base)):
        raise InputError(f"{key} '{path}' is {value!r}: expected a subclass of {base.__module__}.{base.__qualname__}")
    require(key, path, [*sorted(getattr(value, "__abstractmethods__", ())), *lacking(value, base, needs)], base)
    return value


def lacking(kind: type, base: type, needs: Sequence[str]) -> list[str]:
    """Which of these attributes a class has not, or only as its base has them."""
    return [need for need in needs if getattr_static(kind, need, None) is getattr_static(base, need, None)]


def require(key: str, path: str, missing: Sequence[str], base: type) -> None:
    """Raises InputError if a class lacks something that its base asks for."""
    if missing:
        where = f"{base.__module__}.{base.__qualname__}"
        raise InputError(f"{key} '{path}' lacks {', '.join(missing)}: expected what {where} documents")


def build(key: str, path: str, kind: type, options: Mapping[str, Any] | None = None) -> Any:
    """An instance of a user's class. Raises InputError where it cannot be built."""
    try:
        return kind(**(options or {}))
    except InputError:
        raise
    except Exception as error:  # a user's class may fail in any way
        raise InputError(f"{key} '{path}' cannot be built ({type(error).__name__}: {error})") from error
