"""Compares trained models with a baseline on Delta_m, over seeds.

Delta_m is the mean over tasks of how much better the primary metric is than the baseline's, in percent; positive is
better. It is computed from the means over seeds; its standard deviation (over the model's seeds, against the
baseline's mean) and a 95 % bootstrap interval (over the seeds of both) stand beside it.
"""

import argparse
import dataclasses
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.measures.comparison import ModelResult, TaskResult, compare, remarks
from analysis.measures.runs import ModelRun
from analysis.report.tables import aligned, comma_separated, markdown, scaled, spread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baseline", metavar="DIR", required=True, help="run folder of the baseline (single_task)")
    parser.add_argument("models", metavar="MODEL_DIR", nargs="+", help="run folders written by retrain.py")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), markdown, csv or json")


def run(arguments: argparse.Namespace) -> None:
    """Prints the comparison; remarks stand below a table, and on stderr beside csv and json."""
    found = compare(arguments.baseline, arguments.models)
    print(FORMATS[arguments.format](found.reference, found.rows, _context(found.baseline)))
    lines = remarks(found.baseline, found.models)
    if lines:
        beside = sys.stderr if arguments.format in ("csv", "json") else sys.stdout
        print(*([""] if beside is sys.stdout else []), *lines, sep="\n", file=beside)
    for folder in (folder for model in (found.baseline, *found.models) for folder in model.unfinished):
        print(f"note: '{folder}' has no metrics.json: left out as unfinished", file=sys.stderr)


def _context(baseline: ModelRun) -> str:
    seed = baseline.seeds[0]
    where = [f"{kind} {name}" for kind, name in (("dataset", seed.dataset), ("split", seed.split)) if name]
    return f" ({', '.join(where)})" if where else ""


def as_json(baseline: ModelResult, rows: Sequence[ModelResult], context: str) -> str:
    """`models` holds those that were asked for, in order; the baseline's own values stand in `baseline_model`."""
    content = {
        "baseline": baseline.model,
        "models": [dataclasses.asdict(row) for row in rows],
        "baseline_model": dataclasses.asdict(baseline),
    }
    return json.dumps(content, indent=1)


def as_csv(baseline: ModelResult, rows: Sequence[ModelResult], context: str) -> str:
    """A line a model, the baseline first; columns task.metric.(mean|std|contribution)."""
    header = ["model", "run", "seeds", "delta_m", "delta_m_std", "delta_m_low", "delta_m_high"]
    header += ["parameters", "multiply_adds"]
    for task, entry in baseline.tasks.items():
        header += [f"{task}.{entry.metric}.{part}" for part in ("mean", "std", "contribution")]
    lines = []
    for row in _with_baseline(baseline, rows):
        line = [row.model, row.run, row.seeds, row.delta_m, row.delta_m_std, *(row.delta_m_interval or (None, None))]
        line += [row.parameters, row.multiply_adds]
        for entry in row.tasks.values():
            line += [entry.mean, entry.std, entry.delta_m_percent_contribution]
        lines.append(line)
    return comma_separated(header, lines)


def as_table(baseline: ModelResult, rows: Sequence[ModelResult], context: str) -> str:
    """Three narrow tables: Delta_m and cost; metrics; what each task adds to Delta_m."""
    title = (
        f"Delta_m against {baseline.model}{context}; positive is better\n"
        "mean ± standard deviation over seeds; points: what a task adds to Delta_m"
    )
    summary, metrics, shares = columns(baseline, rows)
    names = {"model": labels(baseline, rows)}
    parts = [_aligned(names | summary), _aligned(names | metrics), _aligned(names | shares)]
    return "\n\n".join([title, *parts])


def as_markdown(baseline: ModelResult, rows: Sequence[ModelResult], context: str) -> str:
    summary, metrics, shares = columns(baseline, rows)
    cells = {"model": labels(baseline, rows)} | summary | metrics | shares
    return markdown(list(cells), list(zip(*cells.values(), strict=True)))


FORMATS: dict[str, Callable[[ModelResult, Sequence[ModelResult], str], str]] = {
    "table": as_table,
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
}

Columns = dict[str, list[str]]  # {header: cells}


def _aligned(columns: Columns) -> str:
    return aligned(list(columns), list(zip(*columns.values(), strict=True)))


def _with_baseline(baseline: ModelResult, rows: Sequence[ModelResult]) -> list[ModelResult]:
    """The baseline first, and not again where it was also asked for."""
    return [baseline, *(row for row in rows if Path(row.run).resolve() != Path(baseline.run).resolve())]


def labels(baseline: ModelResult, rows: Sequence[ModelResult]) -> list[str]:
    """Models of the same name are told apart by their folders."""
    others = _with_baseline(baseline, rows)[1:]
    counts = Counter(row.model for row in others)
    names = [row.model if counts[row.model] == 1 else f"{row.model} ({row.run})" for row in others]
    return [f"{baseline.model} (baseline)", *names]


def columns(baseline: ModelResult, rows: Sequence[ModelResult]) -> tuple[Columns, Columns, Columns]:
    """Printed cells: Delta_m and cost; metrics by task; contributions by task."""
    shown = _with_baseline(baseline, rows)
    summary = {
        "seeds": [str(row.seeds) for row in shown],
        "Delta_m % ↑": [spread(row.delta_m, row.delta_m_std, 2, "+") for row in shown],
        "95 % interval": [_interval(row.delta_m_interval) for row in shown],
        "parameters": [scaled(row.parameters, 1e6, "M") for row in shown],
        "multiply-adds": [scaled(row.multiply_adds, 1e9, "G") for row in shown],
    }
    metrics, shares = {}, {}
    for task, entry in baseline.tasks.items():
        digits = _decimals(entry)
        arrow = "↑" if entry.higher_is_better else "↓"
        cells = [row.tasks[task] for row in shown]
        metrics[f"{task}\n{entry.metric} {arrow}"] = [spread(cell.mean, cell.std, digits) for cell in cells]
        shares[f"{task}\npoints"] = [f"{cell.delta_m_percent_contribution:+.2f}" for cell in cells]
    return summary, metrics, shares


def _decimals(entry: TaskResult) -> int:
    """Places that show four significant digits of the baseline's value."""
    return min(8, max(0, 3 - math.floor(math.log10(entry.mean))))


def _interval(interval: tuple[float, float] | None) -> str:
    return "n/a" if interval is None else f"[{interval[0]:+.2f}, {interval[1]:+.2f}]"
