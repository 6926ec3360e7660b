"""How much each exchange of a retrained network matters: the drop of Delta_m when one message is shuffled.

A pair's message is computed from the source of another image, drawn at random so that no image keeps its own; all else
stays. The drop of Delta_m in percentage points, on average over the tasks, is taken against the network's own metrics,
or against the single-task values of --baseline. Only the target's metric can change. Mean and standard deviation are
over the repeats, which all pairs share; a pair without a message scores 0.
"""

import argparse
from typing import TYPE_CHECKING

from analysis.arguments import add_output_options
from analysis.measures.importance import Importance, measure_importance
from analysis.report.numbers import spread
from analysis.report.result import Result, Table
from supernet.records.pairs import Pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="SEED_DIR", help="seed_K of a retrain run with an architecture")
    parser.add_argument("--baseline", metavar="DIR", help="run folder of the single-task networks, to divide by")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="random orders per pair (default 5)")
    parser.add_argument("--split", default="test", metavar="NAME", help="train, val or test (default)")
    parser.add_argument("--images", type=int, metavar="N", help="only the first N images of the split")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random orders (default 0)")
    parser.add_argument("--data-root", metavar="DIR", help="stands in for a data folder that has moved")
    add_output_options(parser, "importance.png")


def run(arguments: argparse.Namespace) -> Result:
    importance = measure_importance(
        arguments.folder, arguments.baseline, arguments.repeats, arguments.split, arguments.images, arguments.seed,
        arguments.data_root,
    )  # fmt: skip
    tasks = importance.tasks
    title = "drop of Delta_m in percentage points when a pair's source is shuffled; positive: the exchange helps"
    rows = [[target, *(cell(importance, (target, source)) for source in tasks)] for target in tasks]
    return Result(
        f"{title}\n{conditions(importance)}",
        [Table(["target \\ source", *tasks], rows)],
        _records(importance),
        _data(importance),
        figures={"importance.png": lambda: _draw(importance)},
    )


def cell(importance: Importance, pair: Pair) -> str:
    """The drop as text; none for a pair without a message."""
    if importance.blocks[pair] == "none":
        return "none"
    return spread(importance.mean(pair), importance.std(pair), 2, "+")


def conditions(importance: Importance) -> str:
    """One line: repeats, images and the reference."""
    base = "the network's own metrics" if importance.baseline is None else importance.baseline
    return f"{importance.repeats} repeats, {importance.images} {importance.split} images, against {base}"


def _draw(importance: Importance) -> "Figure":
    from analysis.report.figures import heat_map, short  # loads matplotlib

    def text(pair: Pair) -> str:
        block = importance.blocks[pair]
        return block if block == "none" else f"{short(block)}\n{cell(importance, pair)}"

    tasks = importance.tasks
    values = [[importance.mean((target, source)) for source in tasks] for target in tasks]
    texts = [[text((target, source)) for source in tasks] for target in tasks]
    return heat_map(values, texts, tasks, "drop of Delta_m in points\nwhen the source is shuffled")


def _records(importance: Importance) -> list[dict[str, object]]:
    return [
        {
            "target": pair[0],
            "source": pair[1],
            "block": block,
            "mean": importance.mean(pair),
            "std": importance.std(pair),
            **{f"repeat_{i}": drop for i, drop in enumerate(importance.drops[pair])},
        }
        for pair, block in importance.blocks.items()
    ]


def _data(importance: Importance) -> dict[str, object]:
    def entry(pair: Pair) -> dict[str, object]:
        drops = importance.drops[pair]
        return {
            "block": importance.blocks[pair],
            "mean": importance.mean(pair),
            "std": importance.std(pair),
            "drops": drops,
        }

    tasks = importance.tasks
    return {
        "run": importance.folder,
        "split": importance.split,
        "images": importance.images,
        "repeats": importance.repeats,
        "seed": importance.seed,
        "baseline": importance.baseline,
        "reference": {task: {importance.metrics[task]: importance.reference[task]} for task in tasks},
        "importance": {target: {source: entry((target, source)) for source in tasks} for target in tasks},
    }
