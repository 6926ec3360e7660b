"""The finished trainings of a race, from their folders."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment.documents import parse_json
from experiment.errors import InputError
from experiment.files import write_atomic
from multitask.metrics.delta_m import log_score

DIVERGED = "diverged.json"  # in place of the metrics.json of a training whose loss became infinite


@dataclass(frozen=True)
class Result:
    """Scores are mean logs of the primary metrics, more is better; 100 times their differences are points of Delta_m.

    validation: {task: its score}. test: over the tasks that have labels there. untrained: the tasks that are no better
        than the constant prediction on the test split.
    """

    validation: dict[str, float]
    test: float
    multiply_adds: float
    seconds: float
    untrained: list[str]

    @property
    def score(self) -> float:
        return sum(self.validation.values()) / len(self.validation)


def read_result(folder: Path) -> Result | None:
    """Of a seed's folder; None where its training diverged. Raises FileNotFoundError where it is not finished."""
    if (folder / DIVERGED).is_file():
        return None
    path = folder / "metrics.json"
    text = path.read_text(encoding="utf-8")
    try:
        content = parse_json(text)
        validation, test = _primary(content["validation"]["tasks"]), _primary(content["tasks"])
        prior = _primary(content["prior"])
        return Result(
            {task: _score({task: entry}) for task, entry in validation.items()},
            _score(test),
            content["multiply_adds"],
            content["train_seconds"],
            [task for task in test if task in prior and _score({task: test[task]}) <= _score({task: prior[task]})],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"'{path}' is damaged: expected what a retraining writes") from error


def mean_validation(results: Sequence[Result]) -> dict[str, float]:
    """{task: mean validation score} over one or more seeds."""
    return {task: sum(r.validation[task] for r in results) / len(results) for task in results[0].validation}


def mark_diverged(folder: Path, reason: str) -> None:
    write_atomic(folder / DIVERGED, json.dumps({"reason": reason}, indent=1, allow_nan=False) + "\n")


def _primary(tasks: dict[str, Any]) -> dict[str, tuple[float, bool]]:
    """{task: (value, whether higher is better)} of the metrics that Delta_m compares, where the labels define them."""
    found = {}
    for task, metrics in tasks.items():
        entry = next(entry for entry in metrics.values() if entry["primary"])
        if entry["value"] is not None:
            found[task] = (float(entry["value"]), bool(entry["higher_is_better"]))
    return found


def _score(entries: dict[str, tuple[float, bool]]) -> float:
    values = {task: value for task, (value, _) in entries.items()}
    if not values or not all(map(math.isfinite, values.values())):
        raise ValueError("a metric is not finite, or there is none")
    return log_score(values, {task: higher for task, (_, higher) in entries.items()})
