"""The order of architectures under shared weights against their order after retraining.

Both are scored on validation by the mean over the tasks of the primary metric's logarithm, with its sign turned where
lower is better; 0.01 is about one percent of Delta_m.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.measures.runs import load_architecture, read_seed, seed_folders
from analysis.measures.spread import mean, std
from experiment.errors import InputError
from multitask.metrics.delta_m import log_score
from supernet.records.samples import PARETO, SAMPLES, Sample, read_samples

FEWEST = 3  # architectures
LEVEL, DRAWS = 0.95, 2000  # of the bootstrap


@dataclass(frozen=True)
class Point:
    """One architecture: its number and score among the samples, its score after retraining, {seed: score}."""

    number: int
    shared: float
    retrained: Mapping[str, float]

    @property
    def mean(self) -> float:
        value = mean(self.retrained.values())
        assert value is not None
        return value

    @property
    def std(self) -> float | None:
        return std(self.retrained.values())


@dataclass(frozen=True)
class Ranking:
    """tau and rho: Kendall's (tau-b) and Spearman's, of shared scores against means after retraining; None where they
    are not defined, as with equal scores; interval: of tau; between_seeds: mean tau over the couples of seeds that all
    architectures have, None without one.
    """

    points: tuple[Point, ...]
    tau: float | None
    interval: tuple[float, float] | None
    rho: float | None
    between_seeds: float | None


def common_points(search: str | Path, models: Sequence[str | Path]) -> tuple[list[Point], list[str]]:
    """The architectures that were evaluated by the search and retrained, in the order of their numbers; and the models
    that are no samples of the search. Raises InputError for fewer than three, and for files that cannot be used.
    """
    samples = _samples(Path(search))
    points: dict[int, Point] = {}
    others = []
    for model in map(Path, models):
        seeds = [folder for folder in seed_folders(model) if (folder / "metrics.json").is_file()]
        if not seeds:
            raise InputError(f"'{model}' holds no finished seed: expected a retrain run")
        if not (seeds[0] / "architecture.yaml").is_file():
            raise InputError(f"'{model}' has no architecture: expected a retrained sample of '{search}'")
        exchanges = dict(load_architecture(seeds[0] / "architecture.yaml").exchanges)
        sample = next((sample for sample in samples if sample.exchanges == exchanges), None)
        if sample is None:
            others.append(str(model))
        elif sample.number in points:
            raise InputError(f"'{model}' holds architecture {sample.number} once more: expected different ones")
        else:
            scores = {folder.name: _score(folder) for folder in seeds}
            points[sample.number] = Point(sample.number, sample.score, scores)
    if len(points) < FEWEST:
        left_out = f"; left out, as no samples of the search: {', '.join(others)}" if others else ""
        raise InputError(f"{len(points)} architectures are in common: expected at least {FEWEST}{left_out}")
    return [points[number] for number in sorted(points)], others


def _samples(search: Path) -> list[Sample]:
    path = search / PARETO / SAMPLES
    if not path.is_file():
        raise InputError(f"'{search}' has no {PARETO}/{SAMPLES}: expected a search with --search.pareto N")
    return read_samples(path, ("cost",))


def _score(folder: Path) -> float:
    tasks = read_seed(folder, "validation").tasks
    values = {name: primary.value for name, primary in tasks.items()}
    return log_score(values, {name: primary.higher_is_better for name, primary in tasks.items()})


def ranking(points: Sequence[Point], draws: int = DRAWS, seed: int = 0) -> Ranking:
    """With a bootstrap interval of tau: architectures, and their seeds, are drawn with replacement."""
    from scipy.stats import spearmanr

    shared, means = [point.shared for point in points], [point.mean for point in points]
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        chosen = [points[i] for i in generator.integers(0, len(points), len(points))]
        again = [
            float(generator.choice(list(point.retrained.values()), len(point.retrained)).mean()) for point in chosen
        ]
        tau = kendall([point.shared for point in chosen], again)
        if tau is not None:
            drawn.append(tau)
    interval = None
    if drawn:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        interval = (float(low), float(high))
    tau = kendall(shared, means)
    rho = None if tau is None else float(spearmanr(shared, means).statistic)
    seeds = [name for name in points[0].retrained if all(name in point.retrained for point in points)]
    couples = [
        kendall([point.retrained[a] for point in points], [point.retrained[b] for point in points])
        for a, b in itertools.combinations(seeds, 2)
    ]
    return Ranking(tuple(points), tau, interval, rho, mean(couples))


def kendall(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b: (concordant - discordant couples) over the geometric mean of the couples that are not tied in
    each. None if all are tied in one. Kendall, The Treatment of Ties in Ranking Problems, 1945.
    """
    x, y = (np.sign(np.subtract.outer(values, values)) for values in (one, other))
    untied = float((x != 0).sum()) * float((y != 0).sum())
    return float((x * y).sum()) / math.sqrt(untied) if untied else None
