"""How much each exchange of a retrained network matters: what Delta_m loses when one message is shuffled.

A pair's message is computed from the source of another image, drawn at random so that no image keeps its own; all else
stays. The drop of Delta_m in percentage points, on average over the tasks, is taken against the network's own metrics,
or against the single-task values of --baseline. Only the target's metric can move. Mean and standard deviation are over
the repeats, which all pairs share; a pair without a message scores 0. With --output also as importance.csv, .json and
.png.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analysis.arguments import output_folder
from analysis.measures.comparison import check_comparable, check_finished
from analysis.measures.runs import load_network, read_model, seed_folders
from analysis.report.tables import aligned, comma_separated, markdown
from experiment.errors import InputError, unknown
from experiment.progress import Progress
from multitask.metrics.delta_m import delta_m

Pair = tuple[str, str]  # target, source


@dataclass(frozen=True)
class Importance:
    """drops: {pair: the drop of Delta_m in percentage points, one per repeat}; reference: {task: its metric}."""

    folder: str
    split: str
    images: int
    repeats: int
    seed: int
    baseline: str | None
    blocks: dict[Pair, str]
    metrics: dict[str, str]
    reference: dict[str, float]
    drops: dict[Pair, list[float]]

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(target for target, _ in self.blocks))

    def mean(self, pair: Pair) -> float:
        return statistics.fmean(self.drops[pair])

    def std(self, pair: Pair) -> float | None:
        return statistics.stdev(self.drops[pair]) if self.repeats > 1 else None

    def text(self, pair: Pair) -> str:
        """A printed cell; a pair without a message says none."""
        if self.blocks[pair] == "none":
            return "none"
        std = self.std(pair)
        return f"{self.mean(pair):+.2f}" + ("" if std is None else f" ± {std:.2f}")


def measure(
    folder: str | Path, baseline: str | Path | None = None, repeats: int = 5, split: str = "test",
    images: int | None = None, seed: int = 0, data_root: str | None = None,
) -> Importance:  # fmt: skip
    """Of the trained network in a seed's folder, on the first `images` images of a split, by default all.

    Progress goes to stderr. Raises InputError for a network without an exchange, or a metric of 0 to divide by.
    """
    folder = Path(folder)
    seeds = seed_folders(folder)
    if seeds:
        raise InputError(f"'{folder}' is a run of {len(seeds)} seeds: expected one seed's folder, such as '{seeds[0]}'")
    if repeats < 1:
        raise InputError(f"--repeats is {repeats}: expected at least 1")
    trained = load_network(folder, data_root)
    if trained.architecture is None:
        raise InputError(f"'{folder}' has no exchange: expected a seed of a retrained architecture")
    if split not in trained.source.splits:
        raise unknown("split", split, trained.source.splits)
    dataset, tasks = trained.source.splits[split], trained.source.tasks
    count = len(dataset) if images is None else images
    if not 2 <= count <= len(dataset):
        raise InputError(f"{count} images of {split}: expected 2 to {len(dataset)}, since they take each other's place")
    denominators = None if baseline is None else _single_task(baseline, folder)
    import torch

    from analysis.measures.shuffling import Shuffling, derangement
    from multitask.network import MultiTaskNetwork

    assert isinstance(trained.network, MultiTaskNetwork)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shuffling = Shuffling(trained.network, tasks, dataset, count, trained.training.batch_size, device)
    reference = shuffling.reference()
    higher = {name: task.metrics[task.primary] for name, task in tasks.items()}
    against = reference if denominators is None else denominators
    for name, value in against.items():
        if not value > 0:
            raise InputError(f"{name} {tasks[name].primary} is {value:g}: expected above 0, to divide by")

    blocks = {pair: trained.architecture.exchanges[pair] for pair in trained.architecture.pairs}
    dice = random.Random(seed)
    orders = [derangement(count, dice) for _ in range(repeats)]
    whole = delta_m(reference, against, higher)
    drops = {pair: [0.0] * repeats for pair in blocks}
    live = [pair for pair, block in blocks.items() if block != "none"]
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result
        progress = Progress(len(live) * repeats, label="importance")
        for k, pair in enumerate(live):
            for i, value in enumerate(shuffling.shuffled(pair, orders)):
                drops[pair][i] = whole - delta_m(reference | {pair[0]: value}, against, higher)
                progress.advance()
            progress.log((k + 1) * repeats, {" <- ".join(pair): statistics.fmean(drops[pair])})
        progress.close()
    return Importance(
        str(folder), split, count, repeats, seed, None if baseline is None else str(baseline), blocks,
        {name: task.primary for name, task in tasks.items()}, reference, drops,
    )  # fmt: skip


def _single_task(baseline: str | Path, folder: Path) -> dict[str, float]:
    """{task: the baseline's mean over its seeds}, of the same metrics as the network's."""
    run = read_model(baseline)
    check_finished(run)
    check_comparable(run, [read_model(folder)])
    return {task: statistics.fmean(seed.tasks[task].value for seed in run.seeds) for task in run.seeds[0].tasks}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="SEED_DIR", help="seed_K of a retrain run with an architecture")
    parser.add_argument("--baseline", metavar="DIR", help="run folder of the single-task networks, to divide by")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="random orders per pair (default 5)")
    parser.add_argument("--split", default="test", metavar="NAME", help="train, val or test (default)")
    parser.add_argument("--images", type=int, metavar="N", help="only the first N images of the split")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random orders (default 0)")
    parser.add_argument("--data-root", metavar="DIR", help="stands in for a data folder that has moved")
    parser.add_argument("--output", metavar="DIR", help="folder for importance.csv, importance.json and importance.png")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), markdown, csv or json")


def run(arguments: argparse.Namespace) -> None:
    folder = output_folder(arguments.output)
    found = measure(
        arguments.folder, arguments.baseline, arguments.repeats, arguments.split, arguments.images, arguments.seed,
        arguments.data_root,
    )  # fmt: skip
    print(FORMATS[arguments.format](found))
    if folder is not None:
        from analysis.report.figures import heat_map  # loads matplotlib
        from experiment.files import write_atomic  # loads torch

        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "importance.csv", as_csv(found) + "\n")
        write_atomic(folder / "importance.json", as_json(found) + "\n")
        values = [[found.mean((target, source)) for source in found.tasks] for target in found.tasks]
        title = "drop of Delta_m in points\nwhen the source is shuffled"
        heat_map(values, _texts(found, "\n"), found.tasks, folder / "importance.png", title)


def _texts(found: Importance, between: str) -> list[list[str]]:
    """Cells, target x source: the block, and its drop where there is a message."""
    from analysis.report.figures import short

    def cell(pair: Pair) -> str:
        block = found.blocks[pair]
        return block if block == "none" else f"{short(block)}{between}{found.text(pair)}"

    return [[cell((target, source)) for source in found.tasks] for target in found.tasks]


def describe(found: Importance) -> str:
    """What the numbers are, in one line."""
    base = "the network's own metrics" if found.baseline is None else found.baseline
    return f"{found.repeats} repeats, {found.images} {found.split} images, against {base}"


def as_table(found: Importance, draw: Callable[[list[str], list[list[str]]], str] = aligned) -> str:
    header = ["target \\ source", *found.tasks]
    rows = [[target, *(found.text((target, source)) for source in found.tasks)] for target in found.tasks]
    title = "drop of Delta_m in percentage points when a pair's source is shuffled; positive: the exchange helps"
    return f"{title}\n{describe(found)}\n\n{draw(header, rows)}"


def as_markdown(found: Importance) -> str:
    return as_table(found, markdown)


def as_csv(found: Importance) -> str:
    header = ["target", "source", "block", "mean", "std", *(f"repeat_{i}" for i in range(found.repeats))]
    rows = [
        [*pair, block, found.mean(pair), found.std(pair), *found.drops[pair]] for pair, block in found.blocks.items()
    ]
    return comma_separated(header, rows)


def as_json(found: Importance) -> str:
    tasks = found.tasks

    def entry(pair: Pair) -> dict[str, object]:
        drops = found.drops[pair]
        return {"block": found.blocks[pair], "mean": found.mean(pair), "std": found.std(pair), "drops": drops}

    content = {
        "run": found.folder,
        "split": found.split,
        "images": found.images,
        "repeats": found.repeats,
        "seed": found.seed,
        "baseline": found.baseline,
        "reference": {task: {found.metrics[task]: found.reference[task]} for task in tasks},
        "importance": {target: {source: entry((target, source)) for source in tasks} for target in tasks},
    }
    return json.dumps(content, indent=1)


FORMATS: dict[str, Callable[[Importance], str]] = {
    "table": as_table,
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
}
