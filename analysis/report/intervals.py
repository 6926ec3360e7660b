"""Panels of values with their intervals, in groups; the chosen ones in the colour of their block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.report.figures import colour, short

WIDTH, LINE, MARGIN = 3.7, 0.19, 0.9  # inches of a panel, of a row, of what stands around the rows
ACROSS = 3  # panels
GREY, SOFT, INK = "#999999", "#666666", "#1a1a1a"


@dataclass(frozen=True)
class Row:
    """others: values from repetitions, drawn as ticks."""

    block: str
    value: float
    low: float
    high: float
    chosen: bool
    others: Sequence[float] = ()


Groups = Mapping[str, Sequence[Row]]


def intervals(panels: Mapping[str, Groups], label: str, line: float) -> Figure:
    """{title: {group: its rows, the first on top}}; each panel has a scale of its own and a dashed line at `line`."""
    down = -(-len(panels) // ACROSS)
    across = -(-len(panels) // down)
    lines = max(sum(1 + len(rows) for rows in groups.values()) for groups in panels.values())
    figure = Figure(figsize=(WIDTH * across, (MARGIN + LINE * lines) * down), layout="constrained")
    places = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, (title, groups) in zip(places, panels.items()):
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.axvline(line, color=INK, linewidth=0.8, linestyle="--")
        axes.set_ylim(lines - 0.5, -0.5)  # rows stand equally far apart in all panels
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(label, fontsize=8)
        _draw(axes, groups)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    return figure


def _draw(axes: Axes, groups: Groups) -> None:
    labels: list[tuple[str, dict[str, str]]] = []  # text, look
    for group, rows in groups.items():
        labels.append((group, {"color": SOFT}))
        for row in rows:
            y, look = len(labels), colour(row.block) if row.chosen else GREY
            axes.plot([row.low, row.high], [y, y], color=look, linewidth=3 if row.chosen else 1)
            axes.plot([row.value], [y], "o", color=look, markeredgecolor=INK if row.chosen else look, markersize=5)
            axes.plot(row.others, [y] * len(row.others), "|", color=INK, markersize=7)
            labels.append((short(row.block), {"fontweight": "bold" if row.chosen else "normal"}))
    axes.set_yticks(range(len(labels)), [text for text, _ in labels], fontsize=8)
    for tick, (_, style) in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set(**style)
    axes.tick_params("y", length=0)
    axes.tick_params("x", labelsize=8)
    axes.locator_params("x", nbins=5)
    axes.spines[["top", "right", "left"]].set_visible(False)
