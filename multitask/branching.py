"""A branching: which tasks share each unit of an encoder, and its file.

Source: Bruggemann et al., Automated search for resource-efficient branched multi-task networks (BMTAS), BMVC 2020.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from experiment.config import NetworkSettings
from experiment.documents import read_json, read_yaml
from experiment.errors import InputError, unknown
from experiment.files import write_atomic

VERSION = 1
KEYS = ("version", "tasks", "backbone", "branching", "provenance")

Partition = tuple[tuple[str, ...], ...]  # groups of tasks, each in the tasks' order, by their first tasks


@dataclass(frozen=True)
class Branching:
    """The tree of an encoder: tasks of one group share a unit's weights and its computation.

    tasks: their names, in order.
    units: one partition of the tasks for each unit, from the stem on; each refines the one before, for what has parted
        stays apart. The order of groups, and of tasks inside one, does not matter: it becomes that of `tasks`.
    backbone: the encoder for which the tree was found; None where it does not matter.
    provenance: where the tree comes from; it takes no part in equality.
    Raises InputError where a unit is no partition of the tasks, or joins tasks that an earlier one has parted.
    """

    tasks: tuple[str, ...]
    units: tuple[Partition, ...]
    backbone: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise InputError(f"the branching has the tasks {list(self.tasks)}: expected one or more different names")
        units: list[Partition] = []
        former: Partition = (self.tasks,)
        for number, given in enumerate(self.units, 1):
            partition = _in_order(given, self.tasks, number)
            for group in partition:
                if not any(set(group) <= set(whole) for whole in former):
                    raise InputError(
                        f"unit {number} joins {' and '.join(group)}, which an earlier unit has parted: expected a "
                        "partition that refines the one before"
                    )
            units.append(partition)
            former = partition
        object.__setattr__(self, "units", tuple(units))

    @classmethod
    def shared(cls, tasks: Sequence[str], units: int, backbone: str | None = None) -> "Branching":
        """All tasks share every unit, as in the multi-task network."""
        return cls(tuple(tasks), ((tuple(tasks),),) * units, backbone)

    @classmethod
    def separate(cls, tasks: Sequence[str], units: int, backbone: str | None = None) -> "Branching":
        """Every task has every unit for itself, as in single-task networks, but for the stem."""
        return cls(tuple(tasks), (tuple((task,) for task in tasks),) * units, backbone)

    @classmethod
    def from_copies(
        cls,
        tasks: Sequence[str],
        copies: Sequence[Sequence[int]],
        backbone: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> "Branching":
        """The tree of chosen copies: of each unit, the number of the copy that each task takes.

        Tasks share a unit if they took the same copy of it and of every unit before.
        """
        units: list[Partition] = []
        before: list[Any] = [()] * len(tasks)
        for number, row in enumerate(copies, 1):
            if len(row) != len(tasks):
                raise InputError(f"unit {number} has {len(row)} copies chosen: expected one for each of {list(tasks)}")
            before = [(*path, copy) for path, copy in zip(before, row)]
            groups: dict[Any, list[str]] = {}
            for task, path in zip(tasks, before):
                groups.setdefault(path, []).append(task)
            units.append(tuple(map(tuple, groups.values())))
        return cls(tuple(tasks), tuple(units), backbone, dict(provenance or {}))

    def branches(self) -> list[int]:
        """How often each unit is there."""
        return [len(partition) for partition in self.units]

    def of(self, tasks: Sequence[str]) -> "Branching":
        """The part of the tree that these tasks use. Raises InputError for a task that it lacks."""
        for task in tasks:
            if task not in self.tasks:
                raise unknown("task of the branching", task, self.tasks)
        cut = (tuple(tuple(t for t in group if t in tasks) for group in partition) for partition in self.units)
        units = tuple(tuple(group for group in partition if group) for partition in cut)
        return Branching(tuple(tasks), units, self.backbone, self.provenance)

    @classmethod
    def load(cls, path: str | Path, tasks: Sequence[str] = ()) -> "Branching":
        """Reads branching.yaml, or a branch_config.json of BMTAS's code, which names no tasks: there they are `tasks`.

        Raises InputError for a file that cannot be used.
        """
        path = Path(path)
        content = read_json(path) if path.suffix == ".json" else read_yaml(path)
        if isinstance(content, dict) and content.keys() == {"config"}:
            return cls.from_copies(tasks, _copies(content["config"], path), provenance={"source": path.name})
        if not isinstance(content, dict):
            raise InputError(f"'{path}' holds {type(content).__name__}: expected a mapping with tasks and branching")
        for key in content:
            if key not in KEYS:
                raise unknown(f"key in '{path}'", key, KEYS)
        version, names = content.get("version"), content.get("tasks")
        if version != VERSION or isinstance(version, bool):
            raise InputError(f"'{path}' has version {version}: expected {VERSION}")
        if not (isinstance(names, list) and _is_list_of(names, str)):
            raise InputError(f"'{path}': tasks is {names!r}, expected a list of names")
        backbone, provenance = content.get("backbone"), content.get("provenance", {})
        if not (backbone is None or isinstance(backbone, str)) or not isinstance(provenance, dict):
            raise InputError(f"'{path}': expected a backbone by its name, and provenance as a mapping")
        try:
            return cls(tuple(names), from_lists(content.get("branching")), backbone, provenance)
        except InputError as error:
            raise InputError(f"'{path}': {error}") from error

    def to_lists(self) -> list[list[list[str]]]:
        """The units as lists, as files and configurations hold them."""
        return [[list(group) for group in partition] for partition in self.units]

    def to_yaml(self) -> str:
        """The text of branching.yaml, a line for each unit."""
        head = {"version": VERSION, "tasks": list(self.tasks), "backbone": self.backbone}
        rows = [yaml.dump(row, default_flow_style=True, width=10_000).strip() for row in self.to_lists()]
        tail = yaml.dump({"provenance": self.provenance}, sort_keys=False, default_flow_style=None, width=120)
        text: str = yaml.dump(head, sort_keys=False, default_flow_style=None, width=10_000)
        return text + "branching:\n" + "".join(f"- {row}\n" for row in rows) + tail

    def save(self, path: str | Path) -> None:
        """Writes branching.yaml, whole or not at all."""
        write_atomic(Path(path), self.to_yaml())

    def table(self) -> str:
        """A text table: the units that have one partition, and its groups."""
        lines = []
        first = 0
        for last, partition in enumerate(self.units):
            if last + 1 == len(self.units) or self.units[last + 1] != partition:
                span = f"unit {first + 1}" if first == last else f"units {first + 1} to {last + 1}"
                lines.append(f"  {span:<15} " + " | ".join(" + ".join(group) for group in partition))
                first = last + 1
        return "\n".join(lines)


def with_branches(settings: NetworkSettings, tasks: Sequence[str]) -> NetworkSettings:
    """The settings with the tree itself where `network.branches` names its file, so that a run keeps it.

    Raises InputError for a tree of another backbone or of other tasks.
    """
    branching = branching_of(settings, tasks)
    if branching is None:
        return settings
    where = f"'{settings.branches}'" if isinstance(settings.branches, str) else "network.branches"
    if set(branching.tasks) != set(tasks):
        raise InputError(f"{where} is for the tasks {list(branching.tasks)}: the configuration has {list(tasks)}")
    if branching.backbone not in (None, settings.backbone):
        raise InputError(f"{where} is for network.backbone {branching.backbone}: found {settings.backbone}")
    return replace(settings, branches=branching.of(tasks).to_lists())


def branching_of(settings: NetworkSettings, tasks: Sequence[str]) -> Branching | None:
    """The tree of `network.branches`, of all its tasks; None where it is not set. tasks: those of the configuration."""
    if settings.branches is None:
        return None
    if isinstance(settings.branches, str):
        return Branching.load(settings.branches, tasks)
    units = from_lists(settings.branches)
    return Branching(tuple(task for group in units[0] for task in group), units)


def from_lists(value: Any) -> tuple[Partition, ...]:
    """Units from a file or a configuration. Raises InputError where they are no lists of lists of task names."""
    if not _is_list_of(value, list) or not all(
        _is_list_of(partition, list) and all(_is_list_of(group, str) for group in partition) for partition in value
    ):
        raise InputError("the branching: expected of each unit its groups of tasks, as in [[[semseg, depth], [edge]]]")
    if not value:
        raise InputError("the branching has no unit: expected one partition of the tasks for each unit")
    return tuple(tuple(map(tuple, partition)) for partition in value)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _in_order(partition: Partition, tasks: tuple[str, ...], number: int) -> Partition:
    """The same groups in the tasks' order. Raises InputError unless every task is in exactly one."""
    found = [task for group in partition for task in group]
    for task in found:
        if task not in tasks:
            raise unknown(f"task in unit {number}", task, tasks)
    if sorted(found) != sorted(tasks) or not all(partition):
        raise InputError(f"unit {number} has the groups {list(map(list, partition))}: expected every task in one group")
    groups = [tuple(task for task in tasks if task in group) for group in partition]
    return tuple(sorted(groups, key=lambda group: tasks.index(group[0])))


def _copies(rows: Any, path: Path) -> list[list[int]]:
    if not _is_list_of(rows, list) or not all(_is_list_of(row, int) for row in rows):
        raise InputError(f"'{path}': config is no list of lists of integers: expected one row of copies for each unit")
    return rows
