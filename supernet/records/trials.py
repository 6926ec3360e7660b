"""loss_weights_trials.csv: the trials of the search for loss weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supernet.records.rows import finite, once, read_rows, whole, write_rows

TRIALS = "loss_weights_trials.csv"
WEIGHTS = "loss_weights.yaml"  # the weights of the best trial
COLUMNS = ("trial", "state", "steps", "delta_m")  # and a column of weights for each task
COMPLETE, PRUNED = "complete", "pruned"


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial. delta_m: in percent, at its last validation; None if its loss did not stay finite."""

    number: int
    state: str
    steps: int
    delta_m: float | None
    weights: dict[str, float]


def write_trials(path: Path, trials: Sequence[TrialRecord], tasks: Sequence[str]) -> None:
    rows = [
        [t.number, t.state, t.steps, "" if t.delta_m is None else f"{t.delta_m:.6g}"]
        + [f"{t.weights[task]:.6g}" for task in tasks]
        for t in trials
    ]
    write_rows(path, [*COLUMNS, *tasks], rows)


def read_trials(path: Path) -> list[TrialRecord]:
    """Raises InputError for a malformed file."""
    rows = read_rows(path, COLUMNS, _parse, more_columns=True)
    return list(once(path, ((trial.number, trial) for trial in rows), "trial {}".format).values())


def _parse(row: Mapping[str, str]) -> TrialRecord:
    if row["state"] not in (COMPLETE, PRUNED):
        raise ValueError(f"state is '{row['state']}': expected {COMPLETE} or {PRUNED}")
    delta_m = finite(row["delta_m"]) if row["delta_m"] else None
    weights = {name: finite(value) for name, value in row.items() if name not in COLUMNS}
    return TrialRecord(whole(row["trial"]), row["state"], whole(row["steps"]), delta_m, weights)
