"""The trials of a search for loss weights as figures, for the report and for TensorBoard."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure  # not pyplot: no display and no global state needed

from supernet.records.trials import COMPLETE, PRUNED, TrialRecord

BLUE, GREY = "#0072B2", "#999999"


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
    """A line per trial through its weights, on logarithmic axes, and its Delta_m; pruned ones are grey."""
    figure, axes = _figure(5.2)
    shown = sorted((t for t in trials if t.delta_m is not None), key=lambda t: (t.state == COMPLETE, t.delta_m))
    names = list(shown[0].weights)[1:] if shown else []  # the first task's weight is 1 in all
    complete = [t.delta_m or 0.0 for t in shown if t.state == COMPLETE]
    # complete trials alone span the last axis: one hopeless trial must not flatten the others
    ends = [(min(column), max(column)) for column in ([t.weights[name] for t in shown] for name in names)]
    ends.append((min(complete, default=0.0), max(complete, default=0.0)))
    for trial in shown:
        heights = [_part(math.log(trial.weights[n]), *map(math.log, end)) for n, end in zip(names, ends)]
        height = min(1.0, max(0.0, _part(trial.delta_m or 0.0, *ends[-1])))
        drawn = colormaps["viridis"](0.9 * (1 - height)) if trial.state == COMPLETE else "#CCCCCC"
        axes.plot([*heights, height], color=drawn, linewidth=1.2)
    for x, end in enumerate(ends):
        axes.axvline(x, color=GREY, linewidth=0.8)
        for y, value in enumerate(end):
            axes.annotate(f"{value:.3g}", (x, y), (3, 2), textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(ends)), [*(f"weight of\n{name}" for name in names), "Delta_m, %"])
    axes.set_yticks([])
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
    """Where the value lies between the ends, from 0 to 1."""
    return (value - low) / (high - low) if high > low else 0.5
