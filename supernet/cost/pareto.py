"""Accuracy against cost: NSGA-II over architectures, each evaluated with the supernet's shared weights.

Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, 2002, as Optuna implements it. What it
draws follows from the seed and the values found, so that a resumed exploration reads its samples and goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from matplotlib.figure import Figure  # not pyplot: no display and no global state needed
from matplotlib.ticker import EngFormatter
from optuna.samplers import NSGAIISampler

from experiment.interruption import Interrupted, Interruption
from experiment.progress import Progress
from search_spaces import Architecture, SearchSpace
from search_spaces.blocks import Pair
from supernet.cost.budget import choose
from supernet.records.costs import Costs
from supernet.records.pairs import pair_name
from supernet.records.samples import FRONT, SAMPLES, Sample, read_samples, write_samples

PATIENCE = 20  # proposals per architecture that is evaluated; the others were known already
PARTS = (0.75, 0.5, 0.25, 0.125)
BLUE, GREY = "#0072B2", "#999999"

Blocks = tuple[str, ...]  # of the space's pairs, in order


def cost(sample: Sample) -> float:
    """Of the exchange."""
    return sample.values["cost"]


class Exploration:
    """Evaluates `count` different architectures, or all if there are fewer, and writes everything to run/pareto.

    evaluate: gives an architecture's score. What is tried before any is drawn: what the search chose, parts of it,
    none, and each block alone everywhere.
    """

    def __init__(
        self, space: SearchSpace, costs: Costs, measure: str, evaluate: Callable[[Architecture], float], count: int,
        seed: int, folder: Path, provenance: Mapping[str, Any],
    ):  # fmt: skip
        self.space, self.costs, self.measure, self.evaluate = space, costs, measure, evaluate
        self.count, self.seed, self.folder = min(count, space.size()), seed, folder
        self.provenance = dict(provenance)
        self.names = [pair_name(pair) for pair in space.pairs]

    def run(self, chosen: Architecture, budget: float | None = None) -> list[Sample]:
        """The front, from the cheapest to the best. Raises Interrupted, all samples being saved, when stopped."""
        known = {self._blocks(sample.exchanges): sample for sample in self._read()}
        samples: dict[Blocks, Sample] = {}
        alone = [Architecture.uniform(self.space.tasks, name, scales=self.space.scales) for name in self.space.blocks]
        study = self._study([chosen, *self._parts(chosen), *alone])
        progress = Progress(self.count, label="architectures", unit="architecture")
        with closing(progress), Interruption() as interruption:
            for _ in range(PATIENCE * self.count):
                if len(samples) == self.count:
                    break
                if interruption.requested:
                    raise Interrupted(f"stopped after {len(samples)} architectures; with --resume, it goes on")
                trial = study.ask()
                blocks = tuple(
                    trial.suggest_categorical(name, self.space.legal(pair))
                    for name, pair in zip(self.names, self.space.pairs, strict=True)
                )
                if blocks not in samples:
                    samples[blocks] = known.get(blocks) or self._sample(len(samples), blocks)
                    if blocks not in known:
                        write_samples(self.folder / SAMPLES, list(samples.values()))
                    progress.advance()
                study.tell(trial, [samples[blocks].score, cost(samples[blocks])])
        found = front(list(samples.values()))
        self._report(list(samples.values()), found, samples.get(self._blocks(chosen.exchanges)), budget)
        return found

    def _study(self, first: Sequence[Architecture]) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = NSGAIISampler(population_size=max(6, min(50, self.count // 10)), seed=self.seed)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        for architecture in first:
            study.enqueue_trial(dict(zip(self.names, self._blocks(architecture.exchanges), strict=True)))
        return study

    def _parts(self, chosen: Architecture) -> list[Architecture]:
        """With as many of its messages as shares of its cost allow."""
        base, whole = self.costs.base, self.costs.total(chosen.exchanges)
        values = {pair: {"none": 0.0, name: float(name != "none")} for pair, name in chosen.exchanges.items()}
        budgets = [base + share * (whole - base) for share in PARTS]
        return [replace(chosen, exchanges=choose(values, self.costs, budget)) for budget in budgets]

    def _blocks(self, exchanges: Mapping[Pair, str]) -> Blocks:
        return tuple(exchanges[pair] for pair in self.space.pairs)

    def _architecture(self, number: int, exchanges: Mapping[Pair, str]) -> Architecture:
        provenance = {**self.provenance, "source": f"pareto_{number:03d}"}
        return Architecture.from_space(self.space, exchanges, provenance)

    def _sample(self, number: int, blocks: Blocks) -> Sample:
        architecture = self._architecture(number, dict(zip(self.space.pairs, blocks, strict=True)))
        architecture.save(self.folder / "samples" / f"architecture_{number:03d}.yaml")
        values = {"cost": float(self.costs.total(architecture.exchanges))}
        return Sample(number, float(self.evaluate(architecture)), architecture.exchanges, values)

    def _read(self) -> list[Sample]:
        path = self.folder / SAMPLES
        return read_samples(path, ("cost",), self.space.pairs) if path.is_file() else []

    def _report(
        self, samples: Sequence[Sample], found: Sequence[Sample], chosen: Sample | None, budget: float | None
    ) -> None:
        write_samples(self.folder / FRONT, found)
        for i, sample in enumerate(found):
            self._architecture(sample.number, sample.exchanges).save(self.folder / f"architecture_{i:02d}.yaml")
        draw(samples, found, chosen, budget, self.measure).savefig(self.folder / "front.png", dpi=150)
        print(f"the front of {len(samples)} architectures: {self.measure} of the exchange, validation score")
        print("\n".join(f"  architecture_{i:02d}  {cost(s):14.6g}  {s.score:+.4f}" for i, s in enumerate(found)))


def front(samples: Sequence[Sample]) -> list[Sample]:
    """Those that no other beats, from the cheapest to the best; the first of equals."""
    kept: list[Sample] = []
    for sample in sorted(samples, key=lambda s: (cost(s), -s.score, s.number)):
        if not kept or sample.score > kept[-1].score:
            kept.append(sample)
    return kept


def draw(
    samples: Sequence[Sample], found: Sequence[Sample], chosen: Sample | None, budget: float | None, measure: str
) -> Figure:
    """All architectures in grey, the front in blue, what the search chose as a star."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter([cost(s) for s in samples], [s.score for s in samples], s=14, color=GREY, label="evaluated")
    axes.step([cost(s) for s in found], [s.score for s in found], "o-", where="post", color=BLUE, ms=5, label="front")
    if chosen is not None:
        axes.plot([cost(chosen)], [chosen.score], "*", color="#D55E00", ms=12, label="chosen by the search")
    if budget is not None:
        axes.axvline(budget, color=GREY, linewidth=0.8, linestyle="--", label="budget")
    unit = {"latency": "latency, s"}.get(measure, measure.replace("_", "-"))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel(f"{unit} of the exchange")
    axes.set_ylabel("validation score, shared weights")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
