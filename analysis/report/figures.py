"""Figures, each block in one colour wherever it is drawn."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure  # not pyplot: no display and no global state needed

# Okabe and Ito, Color Universal Design, 2008: distinct for colour-blind readers; no exchange is pale
COLOURS = {
    "none": "#DDDDDD",
    "global": "#0072B2",
    "local": "#E69F00",
    "t_label": "#009E73",
    "s_label": "#56B4E9",
    "xtam": "#D55E00",
    "padnet_gate": "#CC79A7",
    "padnet_conv": "#F0E442",
    "padnet_linear": "#000000",
    # Tol, Colour Schemes, 2021, muted: of later blocks
    "xtam_channel": "#882255",
    "xtam_both": "#AA4499",
    "query": "#332288",
    "deform": "#999933",
    "target_gate": "#44AA99",
    "low_rank": "#DDCC77",
}
# users' own blocks: grey, distinguished by their hatching
OWN_COLOUR = "#999999"
HATCHES = ("//", "\\\\", "..", "xx", "++", "oo", "--", "||")
DARK = ("global", "t_label", "xtam", "padnet_linear", "xtam_channel", "xtam_both", "query")


def colour(block: str) -> str:
    return COLOURS.get(block, OWN_COLOUR)


def ink(block: str) -> str:
    """Of text upon a block's colour."""
    return "white" if block in DARK else "black"


def short(block: str) -> str:
    """A block's name without the module that it was imported from."""
    return block.rpartition(":")[2]


def data_uri(figure: Figure) -> str:
    """A PNG that needs no file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return png_uri(buffer.getvalue())


def png_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def stacked_bars(bars: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """A bar a group, {group: {block: share, 0 to 1}}, with the percentages written in."""
    blocks = list(next(iter(bars.values())))
    own = [block for block in blocks if block not in COLOURS]
    figure = Figure(figsize=(2.8 + 0.9 * len(bars), 3.6), layout="constrained")
    axes = figure.subplots()
    bottom = [0.0] * len(bars)
    for block in blocks:
        heights = [100 * shares[block] for shares in bars.values()]
        hatch = HATCHES[own.index(block) % len(HATCHES)] if block in own else None
        look: dict[str, Any] = {"color": colour(block), "hatch": hatch, "edgecolor": "white"}
        drawn = axes.bar(list(bars), heights, 0.7, bottom=bottom, label=short(block), **look)
        numbers = [f"{height:.0f}" if height >= 6 else "" for height in heights]
        axes.bar_label(drawn, numbers, label_type="center", color=ink(block), fontsize=8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of the exchanges, %")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()  # in the order in which the bars are stacked
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def scatter(
    panels: Mapping[str, Sequence[tuple[str, float, float, float | None]]], label: str, title: str, zero: bool = True
) -> Figure:
    """Panels side by side, {x axis: [(name, x, y, spread of y)]}, over one y axis, with a line at zero."""
    figure = Figure(figsize=(1 + 3.8 * len(panels), 3.6), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items()):
        if zero:
            axes.axhline(0, color="#999999", linewidth=0.8)
        for i, (text, x, y, spread) in enumerate(points):
            axes.errorbar([x], [y], None if spread is None else [spread], fmt="o", capsize=3, color=f"C{i % 10}")
            axes.annotate(text, (x, y), (6, 4), textcoords="offset points", fontsize=8)
        axes.margins(x=0.25, y=0.15)  # room for the names
        axes.set_xlabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(label)
    figure.suptitle(title, fontsize=10)
    return figure


def heat_map(
    values: Sequence[Sequence[float]], texts: Sequence[Sequence[str]], names: Sequence[str], title: str
) -> Figure:
    """Target x source, each cell with its text; 0 is white, positive values are blue."""
    largest = max(max(abs(value) for row in values for value in row), 1e-9)
    side = 1.2 + 1.15 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="RdBu", vmin=-2 * largest, vmax=2 * largest)  # the ends are too dark for text
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("source")
    axes.set_ylabel("target")
    axes.set_title(title, fontsize=10)
    return figure
