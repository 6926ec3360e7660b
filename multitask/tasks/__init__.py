"""The tasks: everything that depends on what one head predicts.

To add a task, derive a class from `Task` in a file of its own (base.py documents each method) and add a line to
`TASKS`, which passes it its settings as explicit arguments. A dataset that has labels for it needs a reader of them
(multitask/data/label_files.py). `multitask.testing.check_task` checks it. `build_tasks` makes the tasks that a
configuration names.
"""

from collections.abc import Callable, Sequence

from experiment.config import DataSettings
from experiment.errors import InputError, unknown
from multitask.tasks.base import Task
from multitask.tasks.binary import Edge, Saliency
from multitask.tasks.depth import Depth, InverseDepth
from multitask.tasks.normals import Normals
from multitask.tasks.segmentation import HumanParts, SemanticSegmentation

# each is built from the data settings and the number of semantic classes
TASKS: dict[str, Callable[[DataSettings, int], Task]] = {
    "semseg": lambda data, classes: SemanticSegmentation(classes, data.empty_classes == "skip"),
    "depth": lambda data, classes: (InverseDepth if data.depth_loss == "berhu" else Depth)(data.depth_limit),
    "normals": lambda data, classes: Normals(data.normal_centroids, data.normals_loss == "cosine"),
    "edge": lambda data, classes: Edge(*data.edges),
    "human_parts": lambda data, classes: HumanParts(data.empty_classes == "skip"),
    "saliency": lambda data, classes: Saliency(),
}


def build_tasks(names: Sequence[str], data: DataSettings, classes: int) -> dict[str, Task]:
    """The named tasks, in order. Raises InputError for an unknown, repeated or missing one."""
    for name in names:
        if name not in TASKS:
            raise unknown("task", name, TASKS)
    if not names or len(set(names)) != len(names):
        raise InputError(f"data.tasks is {list(names)}: expected one or more different tasks of {', '.join(TASKS)}")
    return {name: TASKS[name](data, classes) for name in names}


__all__ = ["TASKS", "Task", "build_tasks"]
