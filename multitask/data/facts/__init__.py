"""Facts about the published data sets, as small files: class names, maps of class ids, splits, cameras, centroids."""

from functools import cache
from pathlib import Path
from typing import Any

from experiment.documents import read_yaml

HERE = Path(__file__).parent


@cache
def facts(name: str) -> dict[str, Any]:
    """The content of NAME.yaml; do not change it."""
    content: dict[str, Any] = read_yaml(HERE / f"{name}.yaml")
    return content
