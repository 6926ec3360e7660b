"""Models against a baseline: what must be alike to be compared, and the rows of the comparison."""

import shlex
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.measures.bootstrap import bootstrap_interval
from analysis.measures.runs import ModelRun, Seed, read_model
from analysis.measures.spread import mean, std
from experiment.errors import InputError
from multitask.metrics.delta_m import contributions, delta_m

# configuration that decides what a metric means; another value makes another experiment
MUST_MATCH = (
    "data.height",
    "data.width",
    "data.classes",
    "data.test_images",
    "data.empty_classes",
    "data.edge_tolerance",
    "network.backbone",
    "network.backbone_options",
    "network.decoder",
    "network.channels",
)
# configuration that makes a comparison unfair without making it meaningless
SHOULD_MATCH = ("network.pretrained", "training.iterations", "training.batch_size")
FEW_SEEDS = 5


@dataclass(frozen=True)
class TaskResult:
    """A task's primary metric over seeds (std: sample standard deviation), and its share of Delta_m in points."""

    metric: str
    mean: float
    std: float | None
    higher_is_better: bool
    delta_m_percent_contribution: float


@dataclass(frozen=True)
class ModelResult:
    """A row of the comparison. Delta_m in percent, from the means over seeds; no spread and interval of one seed."""

    model: str
    run: str
    seeds: int
    delta_m: float
    delta_m_std: float | None
    delta_m_interval: tuple[float, float] | None
    parameters: float | None
    multiply_adds: float | None
    tasks: dict[str, TaskResult]


@dataclass(frozen=True)
class Comparison:
    """Models, and their rows beside a baseline; `reference` is the baseline's own row, with a Delta_m of 0."""

    baseline: ModelRun
    models: tuple[ModelRun, ...]
    reference: ModelResult
    rows: tuple[ModelResult, ...]

    @property
    def shown(self) -> list[ModelResult]:
        """The baseline first, and not again where it is also among the models."""
        baseline = Path(self.reference.run).resolve()
        return [self.reference, *(row for row in self.rows if Path(row.run).resolve() != baseline)]


def compare(baseline: str | Path, models: Sequence[str | Path]) -> Comparison:
    """Raises InputError for a run without a finished seed, or one that the baseline cannot be compared with."""
    runs = [read_model(folder) for folder in models]
    reference = read_model(baseline)
    if not reference.seeds:
        command = baseline_command(reference, runs)
        raise InputError(f"no finished seed in the baseline '{baseline}'; this command makes it: {command}")
    for model in runs:
        check_finished(model)
    check_comparable(reference, runs)
    rows = tuple(result(model, reference) for model in runs)
    return Comparison(reference, tuple(runs), result(reference, reference), rows)


def check_finished(model: ModelRun) -> None:
    if not model.seeds:
        problem = "is no folder" if not model.folder.is_dir() else "has no finished seed"
        raise InputError(f"'{model.folder}' {problem}: expected a retrain run with seed_K/metrics.json")


def check_comparable(baseline: ModelRun, models: Sequence[ModelRun]) -> None:
    """Raises InputError where a seed of any run was measured on something else than the baseline's first."""
    reference = baseline.seeds[0]
    ours = _facts(reference)
    for seed in [*baseline.seeds, *(seed for run in models for seed in run.seeds)]:
        theirs = _facts(seed)
        for fact in ours:
            if fact in theirs and theirs[fact] != ours[fact]:
                raise InputError(
                    f"'{seed.folder}' and the baseline's '{reference.folder}' differ in {fact}: "
                    f"{theirs[fact]} against {ours[fact]}; expected the same"
                )
    for seed in baseline.seeds:
        for task, primary in seed.tasks.items():
            if primary.value <= 0:
                raise InputError(
                    f"the baseline's {task} {primary.metric} is {primary.value:g} in '{seed.folder}': expected a "
                    "positive number, because Delta_m divides by it"
                )


def _facts(seed: Seed) -> dict[str, Any]:
    """{what must be alike: its value}, as far as the seed's files have it."""
    facts: dict[str, Any] = {"dataset": seed.dataset, "split": seed.split}
    facts = {name: value for name, value in facts.items() if value is not None}
    facts["tasks"] = ", ".join(sorted(seed.tasks))
    for task, primary in sorted(seed.tasks.items()):
        facts[f"primary metric of {task}"] = primary.metric
        facts[f"direction of {task} {primary.metric}"] = (
            f"{'higher' if primary.higher_is_better else 'lower'} is better"
        )
    return facts | _settings(seed, MUST_MATCH)


def _settings(seed: Seed, keys: Iterable[str]) -> dict[str, Any]:
    settings = {}
    for key in keys:
        group, _, name = key.partition(".")
        content = seed.config.get(group)
        if isinstance(content, dict) and name in content:
            settings[key] = content[name]
    return settings


def result(run: ModelRun, baseline: ModelRun) -> ModelResult:
    """A run, comparable with the baseline, as a row."""
    higher = {task: primary.higher_is_better for task, primary in baseline.seeds[0].tasks.items()}
    ours = [{task: seed.tasks[task].value for task in higher} for seed in run.seeds]
    theirs = [{task: seed.tasks[task].value for task in higher} for seed in baseline.seeds]
    means = {task: statistics.fmean(values[task] for values in ours) for task in higher}
    reference = {task: statistics.fmean(values[task] for values in theirs) for task in higher}
    shares = contributions(means, reference, higher)
    return ModelResult(
        run.name,
        str(run.folder),
        len(ours),
        delta_m(means, reference, higher),
        std([delta_m(values, reference, higher) for values in ours]),
        None if run is baseline else bootstrap_interval(ours, theirs, higher),
        _cost([seed.parameters for seed in run.seeds]),
        _cost([seed.multiply_adds for seed in run.seeds]),
        {
            task: TaskResult(
                baseline.seeds[0].tasks[task].metric,
                means[task],
                std([values[task] for values in ours]),
                higher[task],
                shares[task],
            )
            for task in higher
        },
    )


def _cost(values: Sequence[float | None]) -> float | None:
    """The mean, an integer where it is one: seeds of one architecture cost the same."""
    average = mean(values)
    return int(average) if average is not None and average == int(average) else average


def remarks(comparison: Comparison) -> list[str]:
    """What a reader should know before believing the comparison, a line each."""
    baseline, models = comparison.baseline, comparison.models
    lines = []
    runs = [baseline, *(run for run in models if run.folder.resolve() != baseline.folder.resolve())]
    counts = [len(run.seeds) for run in runs]
    if counts[0] < max(counts):
        lines.append(
            f"warning: the baseline has fewer seeds ({counts[0]}) than some model ({max(counts)}): "
            "its noise shifts every row together"
        )
    single = [run.name for run, count in zip(runs, counts, strict=True) if count == 1]
    if single:
        names = ", ".join(single) if len(single) < len(runs) else "every model"
        lines.append(f"warning: only one seed of {names}: its spread is unknown")
    if any(count < FEW_SEEDS for count in counts if count > 1):
        lines.append("warning: with few seeds a 95 % interval is too narrow: of 2 seeds it covers 66 %, of 5 87 %")
    ours = _settings(baseline.seeds[0], SHOULD_MATCH)
    for run in runs[1:]:
        theirs = _settings(run.seeds[0], SHOULD_MATCH)
        for key in ours:
            if key in theirs and theirs[key] != ours[key]:
                lines.append(f"warning: {run.name} has {key} {theirs[key]}, the baseline {ours[key]}")
    return lines


def baseline_command(baseline: ModelRun, models: Sequence[ModelRun]) -> str:
    """The command that trains the single-task baseline, with at least as many seeds as the models have."""
    folders = [folder for run in models for folder in (*(seed.folder for seed in run.seeds), *run.unfinished)]
    configs = [folder / "config.yaml" for folder in folders if (folder / "config.yaml").is_file()]
    config = shlex.quote(str(configs[0])) if configs else "CONFIG"
    seeds = range(max(2, *(len(run.seeds) for run in models)))
    resume = " --resume" if baseline.unfinished else ""
    return (
        f"python retrain.py --config {config} --baseline single_task --output {shlex.quote(str(baseline.folder))} "
        f"--seeds {' '.join(map(str, seeds))}{resume}"
    )
