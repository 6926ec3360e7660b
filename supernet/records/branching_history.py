"""branching.csv: how likely each task is to take each copy of each unit, over the steps of a search."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiment.errors import InputError
from supernet.records.growing import GrowingTable
from supernet.records.rows import finite, once, read_rows, whole

BRANCHING = "branching.csv"
COLUMNS = ("step", "unit", "task", "copy", "probability")

Key = tuple[int, int, str, str]  # (step, unit from 1, task, copy)


class BranchingRecord(GrowingTable):
    """Copies are named by the tasks that train them in the warm-up."""

    def __init__(self, path: Path, tasks: Sequence[str], step: int, digest: str | None = None):
        super().__init__(path, COLUMNS, _checked, step, digest)
        self.tasks = tuple(tasks)

    def add(self, step: int, probabilities: Sequence[Sequence[Sequence[float]]]) -> None:
        """probabilities: (units, tasks, copies). Raises InputError if one is not finite."""
        rows = []
        for unit, by_task in enumerate(probabilities, 1):
            for task, by_copy in zip(self.tasks, by_task, strict=True):
                if not all(map(math.isfinite, by_copy)):
                    raise InputError(
                        f"step {step}: the probabilities of the copies of unit {unit} for {task} are not finite: "
                        "expected finite numbers; try a lower training.learning_rate"
                    )
                rows += [(unit, task, copy, f"{p:.6f}") for copy, p in zip(self.tasks, by_copy, strict=True)]
        self.append(step, rows)


def read_branching(path: Path) -> dict[Key, float]:
    """The probabilities of a finished or a running search. Raises InputError for a malformed file."""
    return once(path, read_rows(path, COLUMNS, _parse, growing=True), _name)


def _checked(row: Mapping[str, str]) -> tuple[str, ...]:
    _parse(row)
    return tuple(row.values())


def _parse(row: Mapping[str, str]) -> tuple[Key, float]:
    step, unit, probability = whole(row["step"]), whole(row["unit"]), finite(row["probability"])
    if step < 0 or unit < 1 or not 0 <= probability <= 1:
        raise ValueError(f"step {step}, unit {unit}, probability {probability:g}: expected from 0, from 1, and 0 to 1")
    return (step, unit, row["task"], row["copy"]), probability


def _name(key: Key) -> str:
    step, unit, task, copy = key
    return f"step {step}, unit {unit}, {task}, {copy},"
