"""The tasks. `TASKS` lists them; `build_tasks` makes those that a configuration names."""

from collections.abc import Callable, Sequence
from typing import Any

from experiment.errors import InputError, unknown
from multitask.tasks.base import Task
from multitask.tasks.binary import Edge, Saliency
from multitask.tasks.depth import Depth
from multitask.tasks.normals import Normals
from multitask.tasks.segmentation import HumanParts, SemanticSegmentation

# each is built from the data settings (experiment.config.DataSettings) and the number of semantic classes
TASKS: dict[str, Callable[[Any, int], Task]] = {
    "semseg": lambda data, classes: SemanticSegmentation(classes, data.empty_classes == "skip"),
    "depth": lambda data, classes: Depth(),
    "normals": lambda data, classes: Normals(data.normal_centroids),
    "edge": lambda data, classes: Edge(data.edge_positive_weight, data.edge_tolerance),
    "human_parts": lambda data, classes: HumanParts(data.empty_classes == "skip"),
    "saliency": lambda data, classes: Saliency(),
}


def build_tasks(names: Sequence[str], data: Any, classes: int) -> dict[str, Task]:
    """The named tasks, in order. Raises InputError for an unknown, repeated or missing one."""
    for name in names:
        if name not in TASKS:
            raise unknown("task", name, TASKS)
    if not names or len(set(names)) != len(names):
        raise InputError(f"data.tasks is {list(names)}: expected one or more different tasks of {', '.join(TASKS)}")
    return {name: TASKS[name](data, classes) for name in names}


__all__ = ["TASKS", "Task", "build_tasks"]
