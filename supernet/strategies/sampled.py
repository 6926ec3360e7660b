"""Random search, evolution and TPE over architectures that share a supernet's weights.

The supernet is trained by single paths that favour no block (`fair_paths`); then a strategy of NNI proposes
architectures, each scored by Delta_m on validation with the shared weights. The reference is the same supernet with
`none` on every pair, so that the score ranks architectures; it is not the Delta_m of a trained network.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from experiment.config import SearchSettings
from experiment.interruption import Interrupted, Interruption
from experiment.progress import Progress
from experiment.run import Run
from multitask.metrics.delta_m import delta_m
from multitask.training.trainer import Trainer
from search_spaces import Architecture, SearchSpace
from search_spaces.blocks import Pair
from supernet.fair_paths import FairPaths
from supernet.records.choices import Choice
from supernet.records.pairs import pair_name
from supernet.records.samples import SAMPLES, Sample, read_samples, write_samples
from supernet.records.selection_history import SELECTION, SelectionRecord
from supernet.shared_weights import evaluate_shared
from supernet.strategies.base import Strategy
from supernet.supernet import Supernet

Blocks = tuple[str, ...]  # one per pair, in the order of the space
WORST = -1e9  # of a sample whose metrics are not finite
SMALLEST = 1e-6  # of a reference's metric, which divides


class SampledSearch(Strategy):
    """name: random, evolution or tpe."""

    def __init__(self, supernet: Supernet, name: str, samples: int, search: SearchSettings, iterations: int):
        self.supernet, self.name, self.count, self.settings, self.iterations = (
            supernet,
            name,
            samples,
            search,
            iterations,
        )
        self.space = supernet.selection.space
        supernet.sampling = "single_path"
        supernet.paths = FairPaths(self.space, supernet.generator)
        self.run: Run | None = None
        self.record: SelectionRecord | None = None
        self.scores: list[float] = []  # of the samples, in their order

    def begin(self, run: Run, step: int) -> None:
        self.run, self.record = run, SelectionRecord(run.path(SELECTION), self.space, step)
        if step == 0:
            self.record.add_even()

    def parameters(self) -> list[nn.Parameter]:
        return [self.supernet.selection.logits]  # not used, and so not to be trained or decayed

    def state_dict(self) -> dict[str, Any]:
        assert self.supernet.paths is not None
        return self.supernet.paths.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert self.supernet.paths is not None
        self.supernet.paths.load_state_dict(state)

    def figures(self) -> dict[str, float]:
        return {"samples": len(self.scores), "best_score": max(self.scores)} if self.scores else {}

    def choose(self, training: Trainer) -> dict[Pair, Choice]:
        """The blocks of the best sample; the first of equals. samples.csv keeps all, and none is scored twice."""
        from supernet.strategies.nni_samplers import explore

        assert self.run is not None and self.record is not None
        samples = Samples(self.run.path(SAMPLES), self.space, training)
        proposed: dict[Blocks, float] = {}
        progress = Progress(self.count, label=self.name)
        with Interruption() as interruption:

            def score(choices: dict[str, str]) -> float:
                blocks = tuple(choices[pair_name(pair)] for pair in self.space.pairs)
                if blocks not in samples.values:
                    samples.add(blocks, self._evaluate(training, blocks))
                if interruption.requested:
                    raise Interrupted(f"stopped after {len(samples)} samples; the same command with --resume goes on")
                proposed[blocks] = samples.score(blocks)
                progress.advance()
                progress.log(len(proposed), {"score": proposed[blocks], "best": max(proposed.values())})
                return proposed[blocks]

            try:
                none = ("none",) * len(self.space.pairs)
                if none not in samples.values:
                    samples.add(none, self._evaluate(training, none))
                space = {pair_name(pair): self.space.legal(pair) for pair in self.space.pairs}
                explore(self.name, space, score, self.count, training.seed)
            finally:
                progress.close()
        ranked = sorted(proposed, key=lambda blocks: -proposed[blocks])  # stable
        self.scores = list(proposed.values())
        self.record.add(self.iterations, self._shares(ranked))
        if proposed[ranked[0]] < 0:
            print("no sample scored as well as no exchange at all, with the supernet's weights")
        return {pair: Choice(block) for pair, block in zip(self.space.pairs, ranked[0], strict=True)}

    def _shares(self, ranked: Sequence[Blocks]) -> list[list[float]]:
        """How often each block serves each pair among the best tenth of the samples, (pairs, blocks)."""
        best = ranked[: max(1, len(ranked) // 10)]
        return [
            [sum(blocks[i] == name for blocks in best) / len(best) for name in self.space.blocks]
            for i in range(len(self.space.pairs))
        ]

    def _evaluate(self, training: Trainer, blocks: Blocks) -> dict[str, float]:
        """Each task's primary metric on validation, with the supernet's weights."""
        exchanges = dict(zip(self.space.pairs, blocks, strict=True))
        architecture = Architecture.from_space(self.space, exchanges)
        values = evaluate_shared(training, self.supernet, architecture, self.settings.recalibration_batches)
        return {name: values[name][task.primary] for name, task in training.tasks.items()}


class Samples:
    """The evaluated architectures, in the order of their evaluation: {blocks: {task: primary metric}}.

    The first is the reference, none everywhere. All are kept in the run's samples.csv, from which they are read back.
    """

    def __init__(self, path: Path, space: SearchSpace, training: Trainer):
        self.path, self.space, self.tasks = path, space, training.tasks
        self.values: dict[Blocks, dict[str, float]] = {}
        for sample in read_samples(path, list(self.tasks), space.pairs) if path.is_file() else ():
            self.values[tuple(sample.exchanges.values())] = dict(sample.values)

    def __len__(self) -> int:
        return len(self.values)

    def add(self, blocks: Blocks, values: Mapping[str, float]) -> None:
        """Writes the whole file, or nothing."""
        self.values[blocks] = {task: values[task] for task in self.tasks}
        samples = [
            Sample(number, self.score(known), dict(zip(self.space.pairs, known, strict=True)), metrics)
            for number, (known, metrics) in enumerate(self.values.items())
        ]
        write_samples(self.path, samples)

    def score(self, blocks: Blocks) -> float:
        """Delta_m against the reference, in percent."""
        reference = {name: max(value, SMALLEST) for name, value in next(iter(self.values.values())).items()}
        higher = {name: task.metrics[task.primary] for name, task in self.tasks.items()}
        found = delta_m(self.values[blocks], reference, higher)
        return found if math.isfinite(found) else WORST
