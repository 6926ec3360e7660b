"""Whether shared weights rank architectures as retraining does: Kendall's tau, with a figure.

Shared weights: the samples of a search with --search.pareto. Retrained: runs of retrain.py of the same architectures
(pareto/samples/architecture_KKK.yaml). Both are scored on validation by the mean over the tasks of the primary metric's
logarithm, its sign turned where lower is better; 0.01 is about one percent of Delta_m. The interval is a bootstrap:
architectures and their seeds are drawn anew, with replacement (on normal noise, 95 % intervals of 5 to 20 architectures
cover 91 to 97 %). Between seeds: tau of retrained architectures with one seed against another, which no ranking can be
expected to exceed by much.
"""

import argparse
import itertools
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.arguments import output_folder
from analysis.measures.runs import load_architecture, read_seed, seed_folders
from analysis.report.tables import aligned, comma_separated, markdown
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
        return statistics.fmean(self.retrained.values())

    @property
    def std(self) -> float | None:
        return statistics.stdev(self.retrained.values()) if len(self.retrained) > 1 else None


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--search", metavar="RUN", required=True, help="a search run with --search.pareto")
    parser.add_argument("--models", metavar="MODEL_DIR", nargs="+", required=True, help="retrain runs of its samples")
    parser.add_argument("--output", metavar="DIR", help="folder for ranking.csv and ranking.png")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), markdown, csv or json")


def run(arguments: argparse.Namespace) -> None:
    folder = output_folder(arguments.output)
    found = ranking(common(arguments.search, arguments.models))
    print(FORMATS[arguments.format](found))
    if folder is None:
        return
    from analysis.report.figures import scatter  # loads matplotlib
    from experiment.files import write_atomic  # loads torch

    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "ranking.csv", as_csv(found) + "\n")
    points = [(f"{point.number:03d}", point.shared, point.mean, point.std) for point in found.points]
    scatter(
        {"validation score, shared weights": points},
        folder / "ranking.png",
        "after retraining",
        f"Kendall's tau {_number(found.tau)}; bars: standard deviation over seeds",
        zero=False,
    )


def common(search: str | Path, models: Sequence[str | Path]) -> list[Point]:
    """The architectures that were both evaluated by the search and retrained, in the order of their numbers.

    Raises InputError for fewer than three, and for files that cannot be used. Others are named on stderr.
    """
    samples = _samples(Path(search))
    points: dict[int, Point] = {}
    for model in map(Path, models):
        seeds = [folder for folder in seed_folders(model) if (folder / "metrics.json").is_file()]
        if not seeds:
            raise InputError(f"'{model}' holds no finished seed: expected a run of retrain.py")
        if not (seeds[0] / "architecture.yaml").is_file():
            raise InputError(f"'{model}' has no architecture: expected a retrained sample of '{search}'")
        exchanges = load_architecture(seeds[0] / "architecture.yaml").exchanges
        sample = next((one for one in samples if one.exchanges == exchanges), None)
        if sample is None:
            print(f"warning: '{model}' is left out: it is no sample of '{search}'", file=sys.stderr)
            continue
        number = sample.number
        if number in points:
            raise InputError(f"'{model}' holds architecture {number} once more: expected different architectures")
        points[number] = Point(number, sample.score, {folder.name: _score(folder) for folder in seeds})
    if len(points) < FEWEST:
        raise InputError(f"{len(points)} architectures are in common: expected at least {FEWEST}, for a ranking")
    return [points[number] for number in sorted(points)]


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
    defined = [value for value in couples if value is not None]
    return Ranking(tuple(points), tau, interval, rho, statistics.fmean(defined) if defined else None)


def kendall(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b: (concordant - discordant couples) over the geometric mean of the couples that are not tied in
    each. None if all are tied in one. Kendall, The Treatment of Ties in Ranking Problems, 1945.
    """
    x, y = (np.sign(np.subtract.outer(values, values)) for values in (one, other))
    untied = float((x != 0).sum()) * float((y != 0).sum())
    return float((x * y).sum()) / math.sqrt(untied) if untied else None


Cells = list[list[str]]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.2f}"


def cells(found: Ranking) -> Cells:
    """Printed rows from the best after retraining: (architecture, shared score and place, score and place)."""
    places = {
        name: {p.number: i for i, p in enumerate(sorted(found.points, key=key, reverse=True), 1)}
        for name, key in (("shared", lambda p: p.shared), ("mean", lambda p: p.mean))
    }
    rows = []
    for point in sorted(found.points, key=lambda p: -p.mean):
        spread = "" if point.std is None else f" ± {point.std:.4f}"
        ranks = str(places["shared"][point.number]), str(places["mean"][point.number])
        rows.append([f"{point.number:03d}", f"{point.shared:.4f}", ranks[0], f"{point.mean:.4f}{spread}", ranks[1]])
    return rows


def as_table(found: Ranking, draw: Callable[[list[str], Cells], str] = aligned) -> str:
    header = ["architecture", "shared weights", "place", "retrained", "place"]
    tau = f"Kendall's tau {_number(found.tau)}"
    if found.interval is not None:
        low, high = map(_number, found.interval)
        tau += f" ({100 * LEVEL:.0f} % interval {low} to {high})"
    lines = [f"{len(found.points)} architectures: {tau}, Spearman's rho {_number(found.rho)}"]
    if found.between_seeds is not None:
        lines.append(f"between seeds of retraining, Kendall's tau {_number(found.between_seeds)}")
    return "\n".join(lines) + "\n\n" + draw(header, cells(found))


def as_markdown(found: Ranking) -> str:
    return as_table(found, markdown)


def as_csv(found: Ranking) -> str:
    rows = [[p.number, p.shared, p.mean, p.std, len(p.retrained)] for p in found.points]
    return comma_separated(["architecture", "shared_weights", "retrained", "retrained_std", "seeds"], rows)


def as_json(found: Ranking) -> str:
    content = {
        "kendall_tau": found.tau,
        "interval": found.interval,
        "spearman_rho": found.rho,
        "between_seeds": found.between_seeds,
        "architectures": [
            {"architecture": p.number, "shared_weights": p.shared, "retrained": dict(p.retrained)} for p in found.points
        ],
    }
    return json.dumps(content, indent=1)


FORMATS: dict[str, Callable[[Ranking], str]] = {
    "table": as_table,
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
}
