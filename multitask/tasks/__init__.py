"""The tasks: everything that depends on what one head predicts.

A task of one's own comes in by its import path, `data.tasks: [semseg, my_tasks:Albedo]`: a subclass of `Task`
(base.py documents each method), or of `Regression` for continuous values.

To add a built-in one, derive a class from `Task` in a file of its own and add a line to `TASKS`, which passes it its
settings as explicit arguments. A dataset that has labels for it needs a reader of them (multitask/data/label_files.py).
`multitask.testing.check_task` checks a task. `build_tasks` makes the tasks that a configuration names, with the metrics
that it adds.
"""

import re
from collections.abc import Callable, Sequence

from experiment.config import DataSettings
from experiment.errors import InputError, unknown
from multitask.metrics.base import OwnMetric
from multitask.plugins import build, import_class, lacking, require
from multitask.tasks import pictures
from multitask.tasks.base import Task, mean_label
from multitask.tasks.binary import Edge, Saliency
from multitask.tasks.depth import Depth, InverseDepth
from multitask.tasks.normals import Normals
from multitask.tasks.regression import Regression
from multitask.tasks.segmentation import HumanParts, SemanticSegmentation

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # names of folders, of keys and of parts of a network
ATTRIBUTES = ("channels", "region_count", "loss_weight")  # that a task may set when it is built

# each is built from the data settings and the number of semantic classes
TASKS: dict[str, Callable[[DataSettings, int], Task]] = {
    "semseg": lambda data, classes: SemanticSegmentation(classes, data.empty_classes == "skip"),
    "depth": lambda data, classes: (InverseDepth if data.depth_loss == "berhu" else Depth)(data.depth_limit),
    "normals": lambda data, classes: Normals(data.normal_centroids, data.normals_loss == "cosine"),
    "edge": lambda data, classes: Edge(*data.edges),
    "human_parts": lambda data, classes: HumanParts(data.empty_classes == "skip"),
    "saliency": lambda data, classes: Saliency(),
}


def build_tasks(entries: Sequence[str], data: DataSettings, classes: int) -> dict[str, Task]:
    """{name: task} of names in `TASKS` and of import paths, in order, with the metrics of `data.metrics`.

    Raises InputError for an unknown, repeated or missing one, and for a class that cannot be used.
    """
    names = [task_name(entry) for entry in entries]
    if not names or len(set(names)) != len(names):
        raise InputError(f"data.tasks is {list(entries)}: expected one or more different tasks of {', '.join(TASKS)}")
    tasks = {
        name: TASKS[entry](data, classes) if entry in TASKS else _own_task(entry)
        for name, entry in zip(names, entries, strict=True)
    }
    for name, paths in data.metrics.items():
        if name not in tasks:
            raise unknown("task in data.metrics", name, tasks)
        for path in paths:
            kind = import_class("data.metrics", path, OwnMetric, ("metrics",))
            build("data.metrics", path, kind)
            tasks[name].add_metric(kind)
    return tasks


def task_name(entry: str) -> str:
    """The name of a task that data.tasks names by it or by an import path. Raises InputError for an unknown one."""
    if ":" in entry:
        name = _imported(entry).name
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise InputError(f"data.tasks '{entry}' has the name {name!r}: expected letters, digits and _")
        return name
    if entry not in TASKS:
        raise unknown("task", entry, TASKS)
    return entry


def reads_files(entry: str) -> bool:
    """Whether this is a user's task with a reader of its own.

    Raises InputError where it has none, and is no variant of a built-in one, whose files it shares.
    """
    if ":" not in entry:
        return False
    kind = _imported(entry)
    if kind.name not in TASKS:
        require("data.tasks", entry, lacking(kind, Task, ["read"]), Task)
    return kind.read is not Task.read


def _imported(path: str) -> type[Task]:
    return import_class("data.tasks", path, Task, ("name", "metrics"))


def _own_task(path: str) -> Task:
    task = build("data.tasks", path, _imported(path))
    require("data.tasks", path, [name for name in ATTRIBUTES if not hasattr(task, name)], Task)
    return task


__all__ = ["TASKS", "Regression", "Task", "build_tasks", "mean_label", "pictures", "reads_files", "task_name"]
