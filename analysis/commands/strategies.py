"""Search strategies on one configuration: what each takes, what its choice scores, how well it repeats.

Runs are grouped by search.strategy; otherwise they should differ in the seed alone. Search: seconds of training and
choosing, mean over the seeds. Memory: the highest peak, of the process on a CPU. Validation: Delta_m of the choice with
the supernet's weights, against the validation of --baseline, or without one against the training prior (the best
constant prediction); it compares strategies and is no posterior on architectures. Same block and kappa: over couples of
seeds, as in `agreement`. Retrained: Delta_m of those architectures that --retrained holds, against --baseline.
"""

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.arguments import output_folder
from analysis.commands.agreement import Agreement, agreement
from analysis.measures.comparison import check_finished, compare
from analysis.measures.runs import Primary, Seed, read_architectures, read_model, read_seed
from analysis.report.tables import aligned, comma_separated, markdown, scaled, spread
from experiment.errors import InputError
from multitask.metrics.delta_m import delta_m

if TYPE_CHECKING:
    from search_spaces import Architecture

MODEL = "supernet"  # what a search calls its network in metrics.json
FREE = ("search.strategy", "seed")  # in which runs may differ
FIXED = ("data.", "network.", "space.")  # in which they must not, or their scores mean different things


@dataclass(frozen=True)
class Run:
    """A finished search."""

    metrics: Seed
    architecture: "Architecture"

    @property
    def strategy(self) -> str:
        return str(_flat(self.metrics.config).get("search.strategy", "gumbel"))

    @property
    def seed(self) -> Any:
        return self.metrics.config.get("seed")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over so many runs; None for one run."""

    mean: float
    std: float | None
    runs: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """Of those that are there; None if there is none."""
        found = [value for value in values if value is not None]
        std = statistics.stdev(found) if len(found) > 1 else None
        return cls(statistics.fmean(found), std, len(found)) if found else None


@dataclass(frozen=True)
class Row:
    """A strategy; None for what its runs do not tell. seconds, multiply_adds (of the whole network, one image): means;
    peak_memory_bytes: the highest; validation and retrained: Delta_m in percent; agreement: None for one run.
    """

    strategy: str
    runs: int
    seconds: float | None
    peak_memory_bytes: float | None
    multiply_adds: float | None
    validation: Spread | None
    agreement: Agreement | None
    retrained: Spread | None


@dataclass(frozen=True)
class Table:
    """reference: what the validation's Delta_m is against."""

    reference: str
    rows: tuple[Row, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="search runs of one configuration")
    parser.add_argument("--retrained", metavar="DIR", nargs="+", default=[], help="retrain runs of their architectures")
    parser.add_argument("--baseline", metavar="DIR", help="retrain run of the baseline (single_task), for Delta_m")
    parser.add_argument("--output", metavar="DIR", help="folder for strategies.csv")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), markdown, csv or json")


def run(arguments: argparse.Namespace) -> None:
    folder = output_folder(arguments.output)
    runs = read_runs(arguments.runs)
    found = tabulate(runs, arguments.baseline, arguments.retrained)
    print(FORMATS[arguments.format](found))
    if folder is not None:
        from experiment.files import write_atomic  # loads torch

        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "strategies.csv", as_csv(found) + "\n")
    for line in warnings(runs):
        print(f"warning: {line}", file=sys.stderr)


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Raises InputError for what is no finished search, and for runs on other data, networks or spaces."""
    runs = []
    for file, architecture in read_architectures(folders).items():
        folder = Path(file).parent
        if Path(file).name != "architecture.yaml" or not all(
            (folder / name).is_file() for name in ("metrics.json", "config.yaml")
        ):
            raise InputError(f"'{file}' is not of a finished search: expected metrics.json and config.yaml beside it")
        runs.append(Run(read_seed(folder), architecture))
        if runs[-1].metrics.model != MODEL:
            raise InputError(f"'{folder}' is no search: expected runs of search.py, and others after --retrained")
    for other in runs[1:]:
        keys = [key for key in differences(runs[0], other) if key.startswith(FIXED)]
        if keys:
            raise InputError(f"{_differ(runs[0], other, keys)}: expected searches that share one configuration")
    return runs


def warnings(runs: Sequence[Run]) -> list[str]:
    """What makes the comparison unfair, a line each."""
    lines = []
    for other in runs[1:]:
        keys = differences(runs[0], other)
        if keys:
            lines.append(f"{_differ(runs[0], other, keys)}, not only in strategy and seed")
    counts = Counter((run.strategy, run.seed) for run in runs)
    lines += [
        f"{n} runs of {name} have seed {seed}: copies repeat nothing" for (name, seed), n in counts.items() if n > 1
    ]
    return lines


def differences(one: Run, other: Run) -> list[str]:
    """The dotted keys in which two configurations differ, but for those that may."""
    ours, theirs = _flat(one.metrics.config), _flat(other.metrics.config)
    return [k for k in dict.fromkeys((*ours, *theirs)) if k not in FREE and ours.get(k) != theirs.get(k)]


def _differ(one: Run, other: Run, keys: Sequence[str]) -> str:
    return f"'{one.metrics.folder}' and '{other.metrics.folder}' differ in {', '.join(keys)}"


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """{group.key: value}"""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


def tabulate(runs: Sequence[Run], baseline: str | Path | None, retrained: Sequence[str | Path]) -> Table:
    """A row for each strategy, in the order of the runs. Raises InputError for retrained runs without a baseline."""
    if retrained and baseline is None:
        raise InputError("--retrained needs a network to compare with: expected --baseline DIR")
    validated = None if baseline is None else _validated(baseline, runs[0])
    gains = [] if baseline is None else _gains(baseline, retrained, runs)

    def gain(run: Run) -> float | None:
        return next((value for architecture, value in gains if architecture == run.architecture), None)

    def row(strategy: str, own: Sequence[Run]) -> Row:
        metrics = [run.metrics for run in own]
        seconds, adds = Spread.of([m.seconds for m in metrics]), Spread.of([m.multiply_adds for m in metrics])
        return Row(
            strategy,
            len(own),
            seconds.mean if seconds else None,
            max((m.memory for m in metrics if m.memory is not None), default=None),
            adds.mean if adds else None,
            Spread.of([_delta_m(m.tasks, validated or _values(m.prior)) for m in metrics]),
            agreement([run.architecture.exchanges for run in own]) if len(own) > 1 else None,
            Spread.of([gain(run) for run in own]),
        )

    names = dict.fromkeys(run.strategy for run in runs)
    reference = "the training prior" if baseline is None else f"the validation of {baseline}"
    return Table(reference, tuple(row(name, [run for run in runs if run.strategy == name]) for name in names))


def _values(tasks: Mapping[str, Primary]) -> dict[str, float]:
    return {name: primary.value for name, primary in tasks.items()}


def _delta_m(tasks: Mapping[str, Primary], reference: Mapping[str, float]) -> float | None:
    """None where the reference lacks a task, or has a value by which nothing can be divided."""
    if set(reference) != set(tasks) or min(reference.values()) <= 0:
        return None
    return delta_m(_values(tasks), reference, {name: primary.higher_is_better for name, primary in tasks.items()})


def _validated(baseline: str | Path, run: Run) -> dict[str, float]:
    """The baseline's validation, {task: mean over its seeds}."""
    model = read_model(baseline)
    check_finished(model)
    seeds = [read_seed(seed.folder, "validation") for seed in model.seeds]
    for task, primary in run.metrics.tasks.items():
        if task not in seeds[0].tasks or seeds[0].tasks[task].metric != primary.metric:
            raise InputError(
                f"the baseline '{baseline}' has no {primary.metric} of {task}, as '{run.metrics.folder}' has"
            )
    return {task: statistics.fmean(seed.tasks[task].value for seed in seeds) for task in run.metrics.tasks}


def _gains(
    baseline: str | Path, folders: Sequence[str | Path], runs: Sequence[Run]
) -> "list[tuple[Architecture, float]]":
    """Delta_m of each retrained architecture. Those that no search chose are named on stderr."""
    found: list[tuple[Architecture, float]] = []
    if not folders:
        return found
    for folder, row in zip(folders, compare(baseline, folders).rows, strict=True):
        held = list(read_architectures([folder]).values())
        if len(held) > 1:
            raise InputError(f"the seeds of '{folder}' hold {len(held)} architectures: expected one")
        if not any(run.architecture == held[0] for run in runs):
            print(f"warning: '{folder}' is left out: no search chose its architecture", file=sys.stderr)
        elif any(architecture == held[0] for architecture, _ in found):
            raise InputError(f"'{folder}' holds an architecture once more: expected different architectures")
        else:
            found.append((held[0], row.delta_m))
    return found


HEADER = [
    "strategy", "seeds", "\nsearch", "peak\nmemory", "network's\nmultiply-adds", "validation\nDelta_m % ↑",
    "same\nblock", "\nkappa", "retrained\nDelta_m % ↑",
]  # fmt: skip


def cells(found: Table) -> list[list[str]]:
    rows = []
    for row in found.rows:
        alike, kappa = _agreement(row.agreement)
        seconds = "n/a" if row.seconds is None else f"{row.seconds:.0f} s"
        retrained = _spread(row.retrained)
        if row.retrained is not None and row.retrained.runs < row.runs:
            retrained += f" ({row.retrained.runs} of {row.runs})"
        costs = [scaled(row.peak_memory_bytes, 1e9, "GB"), scaled(row.multiply_adds, 1e9, "G")]
        rows.append([row.strategy, str(row.runs), seconds, *costs, _spread(row.validation), alike, kappa, retrained])
    return rows


def _spread(value: Spread | None) -> str:
    return "n/a" if value is None else spread(value.mean, value.std, 2, "+")


def _agreement(found: Agreement | None) -> tuple[str, str]:
    if found is None:
        return "n/a", "n/a"
    kappa = "undefined" if found.kappa is None else f"{found.kappa:.2f}"
    return f"{found.agreement_percent:.1f} %", kappa


def as_table(found: Table, draw: Callable[[list[str], list[list[str]]], str] = aligned) -> str:
    title = f"validation: the choice with the supernet's weights against {found.reference}"
    return f"{title}; ± standard deviation over seeds\n\n{draw(HEADER, cells(found))}"


def as_markdown(found: Table) -> str:
    return as_table(found, markdown)


def as_csv(found: Table) -> str:
    rows = [_record(row) for row in found.rows]
    return comma_separated(list(rows[0]), [list(row.values()) for row in rows])


def _record(row: Row) -> dict[str, object]:
    validation, retrained, alike = (row.validation, row.retrained, row.agreement)
    return {
        "strategy": row.strategy,
        "runs": row.runs,
        "seconds": row.seconds,
        "peak_memory_bytes": row.peak_memory_bytes,
        "multiply_adds": row.multiply_adds,
        "validation_delta_m": validation and validation.mean,
        "validation_delta_m_std": validation and validation.std,
        "agreement_percent": alike and alike.agreement_percent,
        "chance_percent": alike and alike.chance_percent,
        "kappa": alike and alike.kappa,
        "retrained_delta_m": retrained and retrained.mean,
        "retrained_delta_m_std": retrained and retrained.std,
        "retrained_runs": retrained.runs if retrained else 0,
    }


def as_json(found: Table) -> str:
    return json.dumps({"reference": found.reference, "strategies": [_record(row) for row in found.rows]}, indent=1)


FORMATS: dict[str, Callable[[Table], str]] = {
    "table": as_table,
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
}
