"""A user's own class by its import path, `package.module:Class`."""

import importlib
import sys
from pathlib import Path

from torch import nn

from experiment.errors import InputError, unknown


def import_class(key: str, path: str, base: type = nn.Module) -> type:
    """The class at `package.module:Class`; modules of the working directory are found too.

    key: of the configuration, for messages. Raises InputError if there is no such class or it does not extend `base`.
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
    return value
