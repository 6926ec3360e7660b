"""Search strategies side by side: what their runs cost, score and have in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.measures.agreement import Agreement, agreement
from analysis.measures.comparison import check_finished, compare
from analysis.measures.runs import Primary, Seed, read_architectures, read_model, read_seed
from analysis.measures.spread import mean, std
from experiment.errors import InputError
from multitask.metrics.delta_m import delta_m

if TYPE_CHECKING:
    from search_spaces import Architecture

MODEL = "supernet"  # the model's name in a search's metrics.json
FREE = ("search.strategy", "seed")  # keys in which runs may differ
FIXED = ("data.", "network.", "space.")  # keys in which they must not, or their scores mean different things


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
    """Mean and sample standard deviation over so many runs; std is None for one run."""

    mean: float
    std: float | None
    runs: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """Of the values that exist; None if there is none."""
        average = mean(values)
        return None if average is None else cls(average, std(values), len(values) - values.count(None))


@dataclass(frozen=True)
class Row:
    """A strategy; None for what its runs do not hold. seconds, multiply_adds (of the whole network, one image): means;
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
class Strategies:
    """reference: what the validation's Delta_m is against; remarks: what makes the comparison unfair."""

    reference: str
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]


def compare_strategies(
    folders: Sequence[str | Path], baseline: str | Path | None, retrained: Sequence[str | Path]
) -> Strategies:
    """A row for each strategy, in the order of the runs.

    Raises InputError for what is no finished search, for runs on other data, networks or spaces, and for retrained runs
    without a baseline.
    """
    runs = read_runs(folders)
    if retrained and baseline is None:
        raise InputError("--retrained needs a network to compare with: expected --baseline DIR")
    validation = None if baseline is None else _baseline_validation(baseline, runs[0])
    gains, others = _gains(baseline, retrained, runs)

    def gain(run: Run) -> float | None:
        return next((value for architecture, value in gains if architecture == run.architecture), None)

    def row(strategy: str, own: Sequence[Run]) -> Row:
        metrics = [run.metrics for run in own]
        return Row(
            strategy,
            len(own),
            mean(m.seconds for m in metrics),
            max((m.memory for m in metrics if m.memory is not None), default=None),
            mean(m.multiply_adds for m in metrics),
            Spread.of([_delta_m(m.tasks, validation or _values(m.prior)) for m in metrics]),
            agreement([run.architecture.exchanges for run in own]) if len(own) > 1 else None,
            Spread.of([gain(run) for run in own]),
        )

    names = dict.fromkeys(run.strategy for run in runs)
    rows = tuple(row(name, [run for run in runs if run.strategy == name]) for name in names)
    left_out = [f"warning: '{folder}' is left out: no search chose its architecture" for folder in others]
    reference = "the training prior" if baseline is None else f"the validation of {baseline}"
    return Strategies(reference, rows, (*left_out, *_remarks(runs)))


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    runs = []
    for file, architecture in read_architectures(folders).items():
        folder = Path(file).parent
        if Path(file).name != "architecture.yaml" or not all(
            (folder / name).is_file() for name in ("metrics.json", "config.yaml")
        ):
            raise InputError(f"'{file}' is not of a finished search: expected metrics.json and config.yaml beside it")
        runs.append(Run(read_seed(folder), architecture))
        if runs[-1].metrics.model != MODEL:
            raise InputError(f"'{folder}' is no search: expected runs of a search, and others after --retrained")
    for other in runs[1:]:
        keys = [key for key in differences(runs[0], other) if key.startswith(FIXED)]
        if keys:
            raise InputError(f"{_differ(runs[0], other, keys)}: expected searches that share one configuration")
    return runs


def _remarks(runs: Sequence[Run]) -> list[str]:
    lines = []
    for other in runs[1:]:
        keys = differences(runs[0], other)
        if keys:
            lines.append(f"warning: {_differ(runs[0], other, keys)}, not only in strategy and seed")
    counts = Counter((run.strategy, run.seed) for run in runs)
    return lines + [
        f"warning: {count} runs of {name} have seed {seed}: copies, not repeated searches"
        for (name, seed), count in counts.items()
        if count > 1
    ]


def differences(one: Run, other: Run) -> list[str]:
    """The dotted keys in which two configurations differ, except for those that may."""
    ours, theirs = _flat(one.metrics.config), _flat(other.metrics.config)
    return [k for k in dict.fromkeys((*ours, *theirs)) if k not in FREE and ours.get(k) != theirs.get(k)]


def _differ(one: Run, other: Run, keys: Sequence[str]) -> str:
    return f"'{one.metrics.folder}' and '{other.metrics.folder}' differ in {', '.join(keys)}"


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """{group.key: value}"""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _values(tasks: Mapping[str, Primary]) -> dict[str, float]:
    return {name: primary.value for name, primary in tasks.items()}


def _delta_m(tasks: Mapping[str, Primary], reference: Mapping[str, float]) -> float | None:
    """None where the reference lacks a task, or has a value by which nothing can be divided."""
    if set(reference) != set(tasks) or min(reference.values()) <= 0:
        return None
    return delta_m(_values(tasks), reference, {name: primary.higher_is_better for name, primary in tasks.items()})


def _baseline_validation(baseline: str | Path, run: Run) -> dict[str, float]:
    """{task: mean over the baseline's seeds} of the primary metrics on validation."""
    model = read_model(baseline)
    check_finished(model)
    seeds = [read_seed(seed.folder, "validation") for seed in model.seeds]
    reference = {}
    for task, primary in run.metrics.tasks.items():
        if task not in seeds[0].tasks or seeds[0].tasks[task].metric != primary.metric:
            raise InputError(
                f"the baseline '{baseline}' has no {primary.metric} of {task}, as '{run.metrics.folder}' has"
            )
        reference[task] = sum(seed.tasks[task].value for seed in seeds) / len(seeds)
    return reference


def _gains(
    baseline: str | Path | None, folders: Sequence[str | Path], runs: Sequence[Run]
) -> "tuple[list[tuple[Architecture, float]], list[str]]":
    """Delta_m of each retrained architecture, and the folders of those that no search chose."""
    gains: list[tuple[Architecture, float]] = []
    others: list[str] = []
    if baseline is None or not folders:
        return gains, others
    for folder, row in zip(folders, compare(baseline, folders).rows, strict=True):
        architectures = list(read_architectures([folder]).values())
        if len(architectures) > 1:
            raise InputError(f"the seeds of '{folder}' hold {len(architectures)} architectures: expected one")
        if not any(run.architecture == architectures[0] for run in runs):
            others.append(str(folder))
        elif any(architecture == architectures[0] for architecture, _ in gains):
            raise InputError(f"'{folder}' holds an architecture once more: expected different architectures")
        else:
            gains.append((architectures[0], row.delta_m))
    return gains, others
