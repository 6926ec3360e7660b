"""Published scores, which come with the package: one table a file of analysis/published, in the units of the papers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.measures.runs import ModelRun
from analysis.measures.spread import mean
from experiment.errors import InputError, unknown
from multitask.metrics.delta_m import delta_m

FOLDER = Path(__file__).parents[1] / "published"
# {name in the papers' tables: (task, primary metric, its value for a printed 1)}
NAMES = {
    "SemSeg": ("semseg", "mean_iou", 0.01),
    "PartSeg": ("human_parts", "mean_iou", 0.01),
    "Sal": ("saliency", "max_f", 0.01),
    "Depth": ("depth", "rmse", 1.0),
    "Normal": ("normals", "mean_angle", 1.0),
    "MAE": ("normals", "mean_angle", 1.0),
    "Bound": ("edge", "ods_f", 0.01),
}


@dataclass(frozen=True)
class PublishedRow:
    """values: {name in the table: as printed}; delta_m: as printed, in percent, or None."""

    setting: str
    model: str
    baseline: str | None
    values: dict[str, float]
    delta_m: float | None
    remark: str


@dataclass(frozen=True)
class PublishedTable:
    """higher: {name in the table: whether higher is better}."""

    name: str
    source: str
    dataset: str
    higher: dict[str, bool]
    rows: tuple[PublishedRow, ...]

    @property
    def baseline(self) -> PublishedRow | None:
        """The row that the others' Delta_m refer to."""
        names = {row.baseline for row in self.rows}
        return next((row for row in self.rows if row.model in names), None)


@dataclass(frozen=True)
class OwnRow:
    """A run in the units of the table; delta_m in percent, None where a task is missing."""

    model: str
    run: str
    seeds: int
    values: dict[str, float]
    delta_m: float | None


def table_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_table(name: str) -> PublishedTable:
    """Raises InputError for an unknown name."""
    if name not in table_names():
        raise unknown("published table", name, table_names())
    content = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    higher: dict[str, bool] = {}
    rows = []
    for row in content["rows"]:
        higher |= {key: entry["direction"] == "higher" for key, entry in row["metrics"].items()}
        values = {key: float(entry["value"]) for key, entry in row["metrics"].items()}
        rows.append(
            PublishedRow(row["setting"], row["model"], row["baseline"], values, row["delta_m"], row.get("remark") or "")
        )
    return PublishedTable(name, content["source"], content["dataset"], higher, tuple(rows))


def own_row(run: ModelRun, table: PublishedTable, baseline: ModelRun | None) -> OwnRow:
    """A run beside the table: means over seeds; Delta_m against `baseline`, or else against the table's.

    Raises InputError for a run without a finished seed or of none of the table's tasks.
    """
    if not run.seeds:
        raise InputError(f"'{run.folder}' has no finished seed: expected a retrain run with seed_K/metrics.json")
    values = _printed(run, table)
    if not values:
        tasks = ", ".join(sorted({NAMES[key][0] for key in table.higher if key in NAMES})) or "none of ours"
        raise InputError(f"'{run.folder}' has no task of {table.name}: expected some of {tasks}")
    reference = _printed(baseline, table) if baseline else table.baseline.values if table.baseline else None
    gain = None
    if reference is not None and values.keys() == table.higher.keys() <= reference.keys():
        gain = delta_m(values, {key: reference[key] for key in values}, table.higher)
    return OwnRow(run.name, str(run.folder), len(run.seeds), values, gain)


def _printed(run: ModelRun, table: PublishedTable) -> dict[str, float]:
    """{name in the table: the mean over seeds in its units}, of the tasks whose primary metric is the table's."""
    found: dict[str, float] = {}
    for key in table.higher:
        task, metric, unit = NAMES.get(key, ("", "", 1.0))
        entries = [seed.tasks[task] for seed in run.seeds if task in seed.tasks and seed.tasks[task].metric == metric]
        average = mean([entry.value for entry in entries])
        if entries and average is not None and len(entries) == len(run.seeds):
            found[key] = average / unit
    return found


def remarks(table: PublishedTable, runs: Mapping[str, ModelRun], own_baseline: bool) -> list[str]:
    """What a reader should know before believing the table, a line each."""
    lines = [f"source: {table.source}"]
    lines += [f"{row.model}: {row.remark}" for row in table.rows if row.remark]
    datasets = {seed.dataset for run in runs.values() for seed in run.seeds if seed.dataset}
    for name in sorted(datasets - {table.dataset}):
        lines.append(
            f"warning: your runs are of {name}, the table is of {table.dataset}: the scores are not comparable"
        )
    if runs and not own_baseline:
        lines.append(
            "note: without --baseline, Delta_m of your runs is against the published single-task scores, of another "
            "implementation"
        )
    return lines
