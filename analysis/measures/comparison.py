"""Models against a baseline: what must be alike to be compared, and the rows of the comparison."""

import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.measures.bootstrap import bootstrap_interval
from analysis.measures.recipe import MUST_MATCH, SHOULD_MATCH, values
from analysis.measures.runs import ModelRun, Seed, read_model
from analysis.measures.spread import mean, std
from experiment.calls import call
from experiment.errors import InputError
from multitask.metrics.delta_m import contributions, delta_m

FEW_SEEDS = 5
TRAINED_WEIGHTS = "loss weights"
SPLIT = "the images and labels of the split (fingerprint)"


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
    """Raises InputError for a run without a finished seed, given twice, or not comparable with the baseline."""
    places = [Path(folder).resolve() for folder in models]
    for i, folder in enumerate(models):
        if places[i] in places[:i]:
            raise InputError(f"'{folder}' is given twice: expected different runs")
    runs = [read_model(folder) for folder in models]
    reference = read_model(baseline)
    if not reference.seeds:
        command = baseline_command(reference, runs)
        raise InputError(f"no finished seed in the baseline '{baseline}'; this command makes it:", command)
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
    """Raises InputError where a seed of any run was measured on something else than the baseline's first, or twice."""
    reference = baseline.seeds[0]
    for run in (baseline, *models):
        _check_seeds(run)
        for seed in run.seeds:
            ours, theirs = _facts(reference), _facts(seed)
            if SPLIT in ours and SPLIT in theirs:
                ours.pop("dataset", None)  # the name of a folder, which may have moved
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


def _check_seeds(run: ModelRun) -> None:
    places: dict[int, Path] = {}
    for seed in run.seeds:
        if seed.seed in places:
            raise InputError(
                f"'{places[seed.seed]}' and '{seed.folder}' both have seed {seed.seed}: expected different seeds, as "
                "copies show no spread"
            )
        if seed.seed is not None:
            places[seed.seed] = seed.folder


def _facts(seed: Seed) -> dict[str, Any]:
    """{what must be alike: its value}, as far as the seed's files have it."""
    facts: dict[str, Any] = {"dataset": seed.dataset, "split": seed.split}
    facts[SPLIT] = None if seed.fingerprint is None else seed.fingerprint[:12]
    facts = {name: value for name, value in facts.items() if value is not None}
    facts["tasks"] = ", ".join(sorted((*seed.tasks, *seed.undefined)))
    facts["tasks without a value"] = ", ".join(sorted(seed.undefined)) or "none"
    for task, primary in sorted(seed.tasks.items()):
        facts[f"primary metric of {task}"] = primary.metric
        facts[f"direction of {task} {primary.metric}"] = (
            f"{'higher' if primary.higher_is_better else 'lower'} is better"
        )
    return facts | values(seed.config, MUST_MATCH)


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
    unknown = [run.name for run in runs if any(seed.fingerprint is None for seed in run.seeds)]
    if unknown:
        lines.append(
            f"warning: no fingerprint of the images in {', '.join(unknown)}, of an earlier version: whether all were "
            "measured on the same images is unknown"
        )
    for task, reason in baseline.seeds[0].undefined.items():
        lines.append(f"warning: {task} is left out: its metrics have no value ({reason})")
    shared = [run.name for run in runs]
    for run in runs:
        name = run.name if shared.count(run.name) == 1 else f"{run.name} ({run.folder})"
        lines += _differences(name, run, baseline.seeds[0])
    return lines


def _differences(name: str, run: ModelRun, reference: Seed) -> list[str]:
    """Where the run's recipe is another than the reference's, a line each."""
    ours = _recipe(reference)
    found: dict[tuple[str, str], list[str]] = {}
    for seed in run.seeds:
        theirs = _recipe(seed)
        different = [key for key in ours if key in theirs and theirs[key] != ours[key]]
        if "loss_weights.weights" in different:
            different = [key for key in different if key != TRAINED_WEIGHTS]
        for key in different:
            found.setdefault((key, str(theirs[key])), []).append(seed.folder.name)
    lines = []
    for (key, value), places in found.items():
        which = name if len(places) == len(run.seeds) else f"{name} ({', '.join(places)})"
        lines.append(f"warning: {which} has {key} {value}, the baseline {ours[key]}")
    return lines


def _recipe(seed: Seed) -> dict[str, Any]:
    recipe = values(seed.config, SHOULD_MATCH)
    if recipe.get("loss_weights.method") == "fixed":  # by whatever key or file they came
        recipe |= {TRAINED_WEIGHTS: seed.loss_weights} if seed.loss_weights else {}
    return recipe


def baseline_command(baseline: ModelRun, models: Sequence[ModelRun]) -> str:
    """The command that trains the single-task baseline, with at least as many seeds as the models have."""
    folders = [folder for run in models for folder in (*(seed.folder for seed in run.seeds), *run.unfinished)]
    configs = [folder / "config.yaml" for folder in folders if (folder / "config.yaml").is_file()]
    config = shlex.quote(str(configs[0])) if configs else "CONFIG"
    seeds = range(max(2, *(len(run.seeds) for run in models)))
    resume = " --resume" if baseline.unfinished else ""
    return (
        f"{call('retrain')} --config {config} --baseline single_task --output {shlex.quote(str(baseline.folder))} "
        f"--seeds {' '.join(map(str, seeds))}{resume}"
    )
