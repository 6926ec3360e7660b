"""The drop of Delta_m when the source of one message is taken from another image (see shuffling.py)."""

import contextlib
import random
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from analysis.measures.comparison import check_comparable, check_finished
from analysis.measures.runs import load_network, read_model, seed_folders
from analysis.measures.spread import std
from experiment.errors import InputError, unknown
from experiment.progress import Progress
from multitask.metrics.delta_m import delta_m
from supernet.records.pairs import Pair, pair_name


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
        return std(self.drops[pair])


def measure_importance(
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
    if trained.architecture.scales:
        scales = list(trained.architecture.scales)
        raise InputError(f"'{folder}' exchanges features at the scales {scales}: importance is measured at one scale")
    if split not in trained.dataset.splits:
        raise unknown("split", split, trained.dataset.splits)
    dataset, tasks = trained.dataset.splits[split], trained.dataset.tasks
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
    draw = random.Random(seed)
    orders = [derangement(count, draw) for _ in range(repeats)]
    unshuffled = delta_m(reference, against, higher)
    drops = {pair: [0.0] * repeats for pair in blocks}
    messages = [pair for pair, block in blocks.items() if block != "none"]
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result
        progress = Progress(len(messages) * repeats, label="importance")
        for k, pair in enumerate(messages):
            for i, value in enumerate(shuffling.shuffled(pair, orders)):
                drops[pair][i] = unshuffled - delta_m(reference | {pair[0]: value}, against, higher)
                progress.advance()
            progress.log((k + 1) * repeats, {pair_name(pair): statistics.fmean(drops[pair])})
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
