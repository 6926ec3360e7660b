"""Whether shared weights rank architectures as retraining does: Kendall's tau, with a figure.

Shared weights: the samples of a search with --search.pareto. Retrained: retrainings of the same architectures
(pareto/samples/architecture_KKK.yaml). Both are scored on validation by the mean over the tasks of the primary metric's
logarithm, with its sign turned where lower is better; 0.01 is about one percent of Delta_m. The interval is a bootstrap
over architectures and their seeds (on normal noise, 95 % intervals of 5 to 20 architectures cover 91 to 97 %). Between
seeds: tau of the retrained architectures with one seed against another, about the most that any ranking can reach.
"""

import argparse
from typing import TYPE_CHECKING

from analysis.arguments import add_output_options
from analysis.measures.ranking import LEVEL, Ranking, common_points, ranking
from analysis.report.numbers import decimal, spread
from analysis.report.result import Result, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--search", metavar="RUN", required=True, help="a search run with --search.pareto")
    parser.add_argument("--models", metavar="MODEL_DIR", nargs="+", required=True, help="retrain runs of its samples")
    add_output_options(parser, "ranking.png")


def run(arguments: argparse.Namespace) -> Result:
    points, others = common_points(arguments.search, arguments.models)
    result = ranking(points)

    def draw() -> "Figure":
        from analysis.report.figures import scatter  # loads matplotlib

        shown = [(f"{point.number:03d}", point.shared, point.mean, point.std) for point in points]
        title = f"Kendall's tau {_text(result.tau)}; bars: standard deviation over seeds"
        return scatter({"validation score, shared weights": shown}, "after retraining", title, zero=False)

    records: list[dict[str, object]] = [
        {
            "architecture": p.number,
            "shared_weights": p.shared,
            "retrained": p.mean,
            "retrained_std": p.std,
            "seeds": len(p.retrained),
        }
        for p in points
    ]
    data = {
        "kendall_tau": result.tau,
        "interval": result.interval,
        "spearman_rho": result.rho,
        "between_seeds": result.between_seeds,
        "architectures": [
            {"architecture": p.number, "shared_weights": p.shared, "retrained": dict(p.retrained)} for p in points
        ],
    }
    remarks = [f"warning: '{model}' is left out: it is no sample of '{arguments.search}'" for model in others]
    return Result(_title(result), [_table(result)], records, data, remarks, {"ranking.png": draw})


def _text(value: float | None) -> str:
    return decimal(value, 2, "+", "undefined")


def _title(result: Ranking) -> str:
    tau = f"Kendall's tau {_text(result.tau)}"
    if result.interval is not None:
        low, high = map(_text, result.interval)
        tau += f" ({100 * LEVEL:.0f} % interval {low} to {high})"
    lines = [f"{len(result.points)} architectures: {tau}, Spearman's rho {_text(result.rho)}"]
    if result.between_seeds is not None:
        lines.append(f"between seeds of retraining, Kendall's tau {_text(result.between_seeds)}")
    return "\n".join(lines)


def _table(result: Ranking) -> Table:
    """From the best after retraining, each score with its place."""
    places = [
        {p.number: str(place) for place, p in enumerate(sorted(result.points, key=key, reverse=True), 1)}
        for key in (lambda p: p.shared, lambda p: p.mean)
    ]
    rows = []
    for p in sorted(result.points, key=lambda p: -p.mean):
        shared, retrained = (of[p.number] for of in places)
        rows.append([f"{p.number:03d}", f"{p.shared:.4f}", shared, spread(p.mean, p.std, 4), retrained])
    return Table(["architecture", "shared weights", "place", "retrained", "place"], rows)
