"""From the class ids of a data set's files to the classes that are learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiment.errors import InputError

MOST_IDS = 2**16
IGNORED = 255


class ClassMap:
    """classes: their names and the ids in files that belong to each, as the files in facts/ list them.

    An id outside the map is ignored, never given to the nearest class.
    """

    def __init__(self, classes: Sequence[Mapping[str, Any]]):
        self.names = [entry["name"] for entry in classes]
        self.table = np.full(MOST_IDS, IGNORED, np.uint8)
        for k, entry in enumerate(classes):
            self.table[entry["ids"]] = k

    def __call__(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) ids to (H, W, 1) classes from 0 and (H, W) bool, whether the id is in the map."""
        classes = self.table[ids]
        valid = classes != IGNORED
        return np.where(valid, classes, 0)[..., None], valid


def check_ids(ids: np.ndarray, path: Path, last: int, zero: str = "") -> None:
    """Raises InputError for an id above the last; zero: what 0 means, in brackets."""
    if ids.max(initial=0) > last:
        raise InputError(f"{path}: class id {ids.max()}, expected 0{zero} to {last}")


def chosen_map(facts: Mapping[str, Any], classes: int | None, default: int) -> ClassMap:
    """The map of so many classes. Raises InputError where the data set has none of that size."""
    sizes = [int(key.removeprefix("map_")) for key in facts if key.startswith("map_")]
    if classes is not None and classes not in sizes:
        raise InputError(f"data.classes is {classes}: expected one of {', '.join(map(str, sorted(sizes)))}, or null")
    return ClassMap(facts[f"map_{classes or default}"])
