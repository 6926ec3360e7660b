"""Crosstalk, once it is installed: the command `crosstalk` (__main__.py), and `load` for what a retraining found.

The library of exchange blocks is `search_spaces`. Nothing here loads torch before it is needed.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _version() -> str:
    try:
        return version("crosstalk")
    except PackageNotFoundError:  # a checkout that is not installed
        import tomllib

        project: dict[str, str] = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
        return project["version"]


__version__ = _version()
__all__ = ["__version__"]
