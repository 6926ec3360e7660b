"""Compares trained models with a baseline on Delta_m, over seeds.

Delta_m is the mean over tasks of the improvement of the primary metric over the baseline's, in percent; positive is
better. It is computed from the means over seeds. Its standard deviation (over the model's seeds, against the baseline's
mean) and a 95 % bootstrap interval (over the seeds of both) stand beside it.

--published TABLE sets runs beside the scores that a paper printed, in its units.
"""

import argparse
import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

from analysis.arguments import add_output_options
from analysis.measures.comparison import Comparison, ModelResult, TaskResult, compare, remarks
from analysis.measures.published import OwnRow, PublishedRow, load_table, own_row, table_names
from analysis.measures.published import remarks as remarks_of
from analysis.measures.runs import read_model
from analysis.report.numbers import decimal, interval, scaled, spread
from analysis.report.result import Result, Table
from experiment.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baseline", metavar="DIR", help="run folder of the baseline (single_task)")
    parser.add_argument("models", metavar="MODEL_DIR", nargs="*", help="run folders of retrainings")
    parser.add_argument(
        "--published", metavar="TABLE", help=f"published scores beside them: {', '.join(table_names())}"
    )
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> Result:
    if arguments.published is not None:
        return beside_published(arguments.published, arguments.baseline, arguments.models)
    given = {"--baseline": arguments.baseline, "MODEL_DIR": arguments.models}
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise InputError(f"the following arguments are required: {', '.join(missing)}; see --help")
    comparison = compare(arguments.baseline, arguments.models)
    reference, seed = comparison.reference, comparison.baseline.seeds[0]
    where = ", ".join(f"{kind} {name}" for kind, name in (("dataset", seed.dataset), ("split", seed.split)) if name)
    title = (
        f"Delta_m against {reference.model}{where and f' ({where})'}; positive is better\n"
        "mean ± standard deviation over seeds; points: a task's contribution to Delta_m"
    )
    data = {
        "baseline": reference.model,
        "models": [dataclasses.asdict(row) for row in comparison.rows],
        "baseline_model": dataclasses.asdict(reference),
    }
    unfinished = [folder for model in (comparison.baseline, *comparison.models) for folder in model.unfinished]
    notes = [f"note: '{folder}' has no metrics.json: left out as unfinished" for folder in unfinished]
    return Result(
        title, tables(comparison), [record(row) for row in comparison.shown], data, [*notes, *remarks(comparison)]
    )


def beside_published(name: str, baseline: str | None, models: Sequence[str]) -> Result:
    """The rows of a published table, then the runs in its units; comparable runs are compared as ever before that."""
    table = load_table(name)
    if baseline is not None:
        compare(baseline, models)
    runs = {str(folder): read_model(folder) for folder in ([] if baseline is None else [baseline]) + list(models)}
    reference = None if baseline is None else runs[str(baseline)]
    own = [own_row(run, table, reference) for run in runs.values()]
    marks = [*("published" for _ in table.rows), *("ours" for _ in own)]
    shown: list[PublishedRow | OwnRow] = [*table.rows, *own]
    columns = {"model": [row.model for row in shown], "scores": marks}
    for key, higher in table.higher.items():
        digits = 4 if key == "Depth" else 2
        columns[f"{key} {'↑' if higher else '↓'}"] = [decimal(row.values.get(key), digits) for row in shown]
    columns["Delta_m % ↑"] = [decimal(row.delta_m, 2, "+") for row in shown]
    records: list[dict[str, object]] = [
        {"model": row.model, "scores": mark, **row.values, "delta_m": row.delta_m}
        for row, mark in zip(shown, marks, strict=True)
    ]
    data = {"published": dataclasses.asdict(table), "models": [dataclasses.asdict(row) for row in own]}
    title = f"{name}; units are the papers'; positive Delta_m is better"
    return Result(
        title, [Table.of_columns(columns, words=2)], records, data, remarks_of(table, runs, baseline is not None)
    )


def record(row: ModelResult) -> dict[str, object]:
    """A row of the csv file; columns of a task: task.metric.(mean|std|contribution)."""
    low, high = row.delta_m_interval or (None, None)
    cells: dict[str, object] = {
        "model": row.model,
        "run": row.run,
        "seeds": row.seeds,
        "delta_m": row.delta_m,
        "delta_m_std": row.delta_m_std,
        "delta_m_low": low,
        "delta_m_high": high,
        "parameters": row.parameters,
        "multiply_adds": row.multiply_adds,
    }
    for task, entry in row.tasks.items():
        values = {"mean": entry.mean, "std": entry.std, "contribution": entry.delta_m_percent_contribution}
        cells |= {f"{task}.{entry.metric}.{part}": value for part, value in values.items()}
    return cells


def tables(comparison: Comparison) -> list[Table]:
    """Delta_m and cost; metrics by task; contributions by task."""
    shown = comparison.shown
    names = {"model": labels(comparison)}
    summary = {
        "seeds": [str(row.seeds) for row in shown],
        "Delta_m % ↑": [spread(row.delta_m, row.delta_m_std, 2, "+") for row in shown],
        "95 % interval": [interval(row.delta_m_interval) for row in shown],
        "parameters": [scaled(row.parameters, 1e6, "M") for row in shown],
        "multiply-adds": [scaled(row.multiply_adds, 1e9, "G") for row in shown],
    }
    metrics, contributions = {}, {}
    for task, entry in comparison.reference.tasks.items():
        digits = _decimals(entry)
        arrow = "↑" if entry.higher_is_better else "↓"
        cells = [row.tasks[task] for row in shown]
        metrics[f"{task}\n{entry.metric} {arrow}"] = [spread(cell.mean, cell.std, digits) for cell in cells]
        contributions[f"{task}\npoints"] = [f"{cell.delta_m_percent_contribution:+.2f}" for cell in cells]
    return [Table.of_columns(names | columns) for columns in (summary, metrics, contributions)]


def labels(comparison: Comparison) -> list[str]:
    """Models of the same name are distinguished by their folders."""
    baseline, *others = comparison.shown
    counts = Counter(row.model for row in others)
    names = [row.model if counts[row.model] == 1 else f"{row.model} ({row.run})" for row in others]
    return [f"{baseline.model} (baseline)", *names]


def _decimals(entry: TaskResult) -> int:
    """Places that show four significant digits of the baseline's value."""
    return min(8, max(0, 3 - math.floor(math.log10(entry.mean))))
