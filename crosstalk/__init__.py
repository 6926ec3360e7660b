"""Crosstalk, once it is installed: the command `crosstalk` (__main__.py), and `load` for what a retraining found.

The library of exchange blocks is `search_spaces`. Nothing here loads torch before it is needed.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def _version() -> str:
    try:
        return version("crosstalk")
    except PackageNotFoundError:  # a checkout that is not installed
        import tomllib

        project: dict[str, str] = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
        return project["version"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from deployment.loading import load

        return load
    raise AttributeError(f"module 'crosstalk' has no attribute '{name}'")


__version__ = _version()
__all__ = ["__version__", "load"]
