"""What a search for loss weights found, as figures for the report and for TensorBoard."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure  # not pyplot: no display and no global state needed

TRIALS = "loss_weights_trials.csv"
COLUMNS = ("trial", "state", "steps", "delta_m")  # and a column of weights for each task
COMPLETE, PRUNED = "complete", "pruned"
BLUE, GREY = "#0072B2", "#999999"


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial. delta_m: in percent, at its last validation; None if its loss was not finite before one."""

    number: int
    state: str
    steps: int
    delta_m: float | None
    weights: dict[str, float]


def read_trials(path: Path) -> list[TrialRecord]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        TrialRecord(
            int(row["trial"]),
            row["state"],
            int(row["steps"]),
            float(row["delta_m"]) if row["delta_m"] else None,
            {name: float(value) for name, value in row.items() if name not in COLUMNS},
        )
        for row in rows
    ]


def history(trials: Sequence[TrialRecord]) -> Figure:
    """Delta_m of each trial, and the best of the complete ones so far."""
    figure, axes = _figure(5.2)
    shown = [(t.number, t.delta_m, t.state) for t in trials if t.delta_m is not None]
    for state, look in ((COMPLETE, {"color": BLUE}), (PRUNED, {"facecolors": "none", "edgecolors": GREY})):
        points = [(x, y) for x, y, other in shown if other == state]
        axes.scatter(*zip(*points) if points else ([], []), s=22, label=state, **look)
    best: list[tuple[int, float]] = []
    for x, y, state in shown:
        if state == COMPLETE:
            best.append((x, max(y, best[-1][1]) if best else y))
    if best:
        axes.step(*zip(*best), where="post", color=BLUE, linewidth=1, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel("Delta_m on validation, %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
    return figure


def parallel_coordinates(trials: Sequence[TrialRecord]) -> Figure:
    """A line per trial through its weights (logarithmic) and its Delta_m; pruned ones are grey."""
    figure, axes = _figure(5.2)
    shown = [trial for trial in trials if trial.delta_m is not None]
    names = [name for name in (shown[0].weights if shown else {}) if len({t.weights[name] for t in shown}) > 1]
    complete = [t.delta_m for t in shown if t.state == COMPLETE and t.delta_m is not None] or [0.0]
    scale = Normalize(min(complete), max(complete))
    axes.set_xlim(0, len(names))
    axes.set_xticks(range(len(names) + 1), [*(f"weight of\n{name}" for name in names), "Delta_m, %"])
    axes.set_yticks([])
    columns = [[t.weights[name] for t in shown] for name in names]
    heights = [_heights(column) for column in columns]
    # complete trials alone span the last axis: one hopeless trial must not flatten the others
    heights.append([min(1.0, max(0.0, float(_part(t.delta_m or 0.0, min(complete), max(complete))))) for t in shown])
    for i in sorted(range(len(shown)), key=lambda i: (shown[i].state == COMPLETE, shown[i].delta_m)):
        trial = shown[i]
        look: dict[str, Any] = {"color": "#CCCCCC", "linewidth": 0.8}
        if trial.state == COMPLETE:
            look = {"color": colormaps["viridis"](1 - 0.9 * float(scale(trial.delta_m or 0.0))), "linewidth": 1.4}
        axes.plot(range(len(names) + 1), [column[i] for column in heights], **look)
    for x, column in enumerate([*columns, complete]):
        axes.axvline(x, color=GREY, linewidth=0.8)
        for y, value in ((0.0, min(column, default=0.0)), (1.0, max(column, default=0.0))):
            axes.annotate(f"{value:.3g}", (x, y), (3, 2), textcoords="offset points", fontsize=8)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.margins(y=0.08)
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """How much of the differences in Delta_m each task's weight explains."""
    figure, axes = _figure(3.6)
    drawn = axes.barh(list(shares)[::-1], [100 * share for share in shares.values()][::-1], 0.6, color=BLUE)
    axes.bar_label(drawn, fmt="%.0f", padding=3, fontsize=8)
    axes.set_xlim(0, 110)
    axes.set_xlabel("importance of the weight, %")
    return figure


def _figure(width: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _part(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _heights(values: Sequence[float]) -> list[float]:
    """From 0 to 1, logarithmic."""
    scaled = [math.log(value) for value in values]
    return [_part(value, min(scaled), max(scaled)) for value in scaled]
