"""The version of this project: of the installed package, or of the checkout."""

import tomllib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path


def version() -> str:
    try:
        return installed("crosstalk")
    except PackageNotFoundError:  # a checkout that is not installed
        project: dict[str, str] = tomllib.loads(
            (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        )["project"]
        return project["version"]
