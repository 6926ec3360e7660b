"""Figures of blocks, each block in one colour wherever it is drawn."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure  # not pyplot: no display and no global state needed

# Okabe and Ito, Color Universal Design, 2008: told apart by colour-blind readers; no exchange is pale
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
}
# users' own blocks: grey, told apart by their hatching
OWN_COLOUR = "#999999"
HATCHES = ("//", "\\\\", "..", "xx", "++", "oo", "--", "||")


def stacked_bars(bars: Mapping[str, Mapping[str, float]], path: Path, title: str) -> None:
    """A bar a group, {group: {block: share, 0 to 1}}, with the percentages written in; a PNG file."""
    blocks = list(next(iter(bars.values())))
    own = [block for block in blocks if block not in COLOURS]
    figure = Figure(figsize=(2.8 + 0.9 * len(bars), 3.6), layout="constrained")
    axes = figure.subplots()
    bottom = [0.0] * len(bars)
    for block in blocks:
        heights = [100 * shares[block] for shares in bars.values()]
        colour = COLOURS.get(block, OWN_COLOUR)
        hatch = HATCHES[own.index(block) % len(HATCHES)] if block in own else None
        label = block.rpartition(":")[2]
        drawn = axes.bar(
            list(bars), heights, 0.7, bottom=bottom, label=label, color=colour, hatch=hatch, edgecolor="white"
        )
        numbers = [f"{height:.0f}" if height >= 6 else "" for height in heights]
        ink = "white" if block in ("global", "t_label", "xtam", "padnet_linear") else "black"
        axes.bar_label(drawn, numbers, label_type="center", color=ink, fontsize=8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of the exchanges, %")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()  # in the order in which the bars are stacked
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
