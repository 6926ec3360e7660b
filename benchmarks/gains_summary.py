"""The figures of `benchmarks.gains` over several problems: a table, a chart of gains, and predicted beside retrained.

A mean over problems has a 95 % interval by Student's t over problems, paired with the arm that it is compared with.

python -m benchmarks.gains_summary runs/gains/dark runs/gains/far --output docs/log
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from scipy.stats import pearsonr, spearmanr
from scipy.stats import t as student_t

from supernet.records.effects import read_effects

matplotlib.use("Agg")
from matplotlib import pyplot

ARMS = ("score", "guided", "evidence", "gumbel", "best_rows", "uniform:xtam", "uniform:padnet_gate", "uniform:local")
BINS = (0.0, 0.05, 0.5, 0.8, 0.95, 1.0001)  # of the stated probability


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half of its 95 % interval, infinite for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, float("inf")
    half = float(student_t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return mean, half


def rows_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The arms by all their names, with the mean gain over the seeds."""
    found: dict[str, dict[str, Any]] = {}
    for name, row in report.items():
        entry = {**row, "gain": statistics.fmean(row["gains"])}
        found |= dict.fromkeys([name, *row["aliases"]], entry)
    return found


def print_gains(problems: dict[str, dict[str, dict[str, Any]]]) -> None:
    arms = [arm for arm in ARMS if any(arm in rows for rows in problems.values())]
    print("| problem | " + " | ".join(arms) + " |\n" + "|---" * (1 + len(arms)) + "|")
    for problem, rows in problems.items():
        cells = [
            f"{rows[arm]['gain']:+.1f} ({rows[arm]['multiply_adds'] / 1e6:.1f} M)" if arm in rows else ""
            for arm in arms
        ]
        print(f"| {problem} | " + " | ".join(cells) + " |")
    print("\ndifferences, mean over problems and 95 % interval")
    first, *others = arms
    for other in others:
        both = [rows for rows in problems.values() if first in rows and other in rows]
        if both:
            mean, half = interval([rows[first]["gain"] - rows[other]["gain"] for rows in both])
            cost = statistics.fmean(
                rows[first]["multiply_adds"] / max(1.0, rows[other]["multiply_adds"]) for rows in both
            )
            print(f"{first} - {other}: {mean:+.2f} ± {half:.2f} points, {cost:.2f} of its cost, {len(both)} problems")
    best = [
        max(rows[arm]["gain"] for arm in arms if arm in rows and arm.startswith("uniform"))
        for rows in problems.values()
    ]
    mean, half = interval([rows[first]["gain"] - one for rows, one in zip(problems.values(), best, strict=True)])
    print(f"{first} - the best uniform of each problem (chosen on the test split): {mean:+.2f} ± {half:.2f} points")


def edits(folder: Path, report: dict[str, Any]) -> list[tuple[float, float, float]]:
    """(predicted effect, its probability, retrained effect) of each edit and target, in % of the target's loss."""
    effects = read_effects(folder / "search" / "score" / "effects.csv")
    found = []
    for name, row in report.items():
        if not name.startswith("edit"):
            continue
        for pair, block in row["exchanges"].items():
            target, source = pair.split(" <- ")
            effect = effects[(target, source), block]
            saved = [
                100 * (1 - own[target] / none[target]) for own, none in zip(row["losses"], report["none"]["losses"])
            ]
            found.append((effect.effect, effect.probability, statistics.fmean(saved)))
    return found


def print_edits(found: Sequence[tuple[float, float, float]], worth: float) -> None:
    predicted, _, retrained = zip(*found, strict=True)
    linear, ranks = pearsonr(predicted, retrained).statistic, spearmanr(predicted, retrained).statistic
    print(f"\npredicted and retrained effect of {len(found)} edits: r {linear:.2f}, rho {ranks:.2f}")
    for low, high in itertools.pairwise(BINS):
        inside = [saved for _, probability, saved in found if low <= probability < high]
        if inside:
            share = sum(saved > worth for saved in inside) / len(inside)
            mean = statistics.fmean(inside)
            text = f"{len(inside)} edits, {share:.0%} saved more than {worth} %, {mean:+.1f} % on average"
            print(f"probability {low:.2f} to {min(high, 1):.2f}: {text}")


def draw_gains(problems: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    for arm in ARMS:
        points = [(i, rows[arm]["gain"]) for i, rows in enumerate(problems.values()) if arm in rows]
        if points:
            first = arm == ARMS[0]
            style = {"s": 70, "color": "C3", "zorder": 3} if first else {"s": 28, "alpha": 0.8}
            axes.scatter(*zip(*points, strict=True), label=arm, marker="D" if first else "o", **style)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_xticks(range(len(problems)), list(problems))
    axes.set_ylabel("gain over no exchange,\npoints of Delta_m")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=130)


def draw_edits(found: Sequence[tuple[float, float, float]], path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(4.4, 4), layout="constrained")
    predicted, probability, retrained = zip(*found, strict=True)
    points = axes.scatter(predicted, retrained, c=probability, cmap="viridis", s=24, vmin=0, vmax=1)
    axes.axline((0, 0), slope=1, color="grey", linewidth=0.8)
    axes.set_xlabel("effect that score predicts, % of the target's loss")
    axes.set_ylabel("retrained with and without, % of the target's loss")
    figure.colorbar(points, label="stated probability of more than search.worth")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path, nargs="+", help="output folders of benchmarks.gains")
    parser.add_argument("--output", type=Path, help="folder for gains.png and edits.png")
    parser.add_argument("--worth", type=float, default=0.5, help="search.worth of the searches")
    options = parser.parse_args()
    reports = {f.name: json.loads((f / "gains.json").read_text(encoding="utf-8")) for f in options.problems}
    problems = {name: rows_of(report) for name, report in reports.items()}
    print_gains(problems)
    found = [edit for folder in options.problems for edit in edits(folder, reports[folder.name])]
    if len(found) > 2:
        print_edits(found, options.worth)
    if options.output is not None:
        draw_gains(problems, options.output / "gains.png")
        if len(found) > 2:
            draw_edits(found, options.output / "edits.png")


if __name__ == "__main__":
    main()
