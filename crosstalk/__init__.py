"""Crosstalk, once it is installed: the command `crosstalk` (__main__.py), and `load` for what a retraining found.

The library of exchange blocks is `search_spaces`. Nothing here loads torch before it is needed.
"""

from typing import Any

from experiment.version import version


def __getattr__(name: str) -> Any:
    if name == "load":
        from deployment.loading import load

        return load
    raise AttributeError(f"module 'crosstalk' has no attribute '{name}'")


__version__ = version()
__all__ = ["__version__", "load"]
