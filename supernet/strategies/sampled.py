"""Random search, evolution and TPE over architectures that share a supernet's weights.

The supernet is trained by single paths that train every block equally often (`FairPaths`). Then a strategy of NNI
proposes architectures, each scored by Delta_m on validation with the shared weights. The reference is the same supernet
with `none` on every pair, so the score ranks architectures; it is not the Delta_m of a trained network.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from experiment.config import Config
from experiment.errors import InputError
from experiment.interruption import Interrupted, Interruption
from experiment.progress import Progress
from multitask.data import DatasetSplits
from multitask.metrics.delta_m import delta_m
from multitask.processes import led_by_first
from multitask.tasks import Task
from multitask.training.evaluation import primary_values
from multitask.training.finite import Diverged
from multitask.training.trainer import Trainer
from search_spaces import Architecture, SearchSpace
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.records.choices import Choice
from supernet.records.pairs import pair_name
from supernet.records.samples import SAMPLES, Sample, read_samples, write_samples
from supernet.samplers.fair_paths import FairPaths
from supernet.shared_weights import evaluate_shared
from supernet.strategies.base import Strategy

Blocks = tuple[str, ...]  # one per pair, in the order of the space
WORST = -1e9  # of a sample whose metrics are not finite
SMALLEST = 1e-6  # of a reference's metric, which divides


class SampledSearch(Strategy):
    """Base: trains by fair paths, then chooses the sample of the best score."""

    @classmethod
    def check(cls, config: Config, dataset: DatasetSplits) -> None:
        try:
            import supernet.strategies.nni_samplers  # noqa: F401
        except ImportError as error:
            need = f"search.strategy is {cls.name}, which needs nni ({error})"
            raise InputError(
                f"{need}: expected after pip install 'nni>=3.0'; the other strategies do without"
            ) from error

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        network = context.supernet(FairPaths(context.space, context.generator("sampler")))
        record = context.record()
        trainer = context.trainer(network)
        trainer.fit()
        with context.choosing():
            batches = context.config.search.recalibration_batches

            def drive(measure: Callable[[Blocks], dict[str, float]]) -> dict[Blocks, float]:
                samples = Samples(context.run.path(SAMPLES), context.space, trainer.tasks)
                return self._explore(context, samples, measure)

            scores = led_by_first(
                drive, lambda blocks: primary_metrics(trainer, context.space, blocks, batches), Diverged
            )
        ranked = sorted(scores, key=lambda blocks: -scores[blocks])  # stable: the first of equals
        context.figures = {"samples": len(scores), "best_score": max(scores.values())}
        record.add(context.config.training.iterations, shares(ranked, context.space))
        if scores[ranked[0]] < 0:
            print("no sample scored as well as no exchange at all, with the supernet's weights")
        return {pair: Choice(block) for pair, block in zip(context.space.pairs, ranked[0], strict=True)}

    def _explore(
        self, context: SearchContext, samples: "Samples", measure: Callable[[Blocks], dict[str, float]]
    ) -> dict[Blocks, float]:
        """The score of every sample. samples.csv keeps all, and none is evaluated twice.

        measure: gives each task's primary metric, and raises Diverged.
        """
        from supernet.strategies.nni_samplers import explore

        space = context.space
        count: int = getattr(context.config.search, self.name).samples
        scores: dict[Blocks, float] = {}
        progress = Progress(count, label=self.name)
        with Interruption() as interruption:

            def score(choices: dict[str, str]) -> float:
                blocks = tuple(choices[pair_name(pair)] for pair in space.pairs)
                if blocks not in samples.values:
                    samples.add(blocks, _metrics_or_nan(measure, blocks, samples.tasks))
                if interruption.requested:
                    raise Interrupted(f"stopped after {len(samples)} samples; the same command with --resume goes on")
                scores[blocks] = samples.score(blocks)
                progress.advance()
                progress.log(len(scores), {"score": scores[blocks], "best": max(scores.values())})
                return scores[blocks]

            try:
                none = ("none",) * len(space.pairs)
                if none not in samples.values:
                    samples.add(none, measure(none))
                candidates = {pair_name(pair): space.legal(pair) for pair in space.pairs}
                explore(self.name, candidates, score, count, context.seed)
            finally:
                progress.close()
        return scores


class RandomSearch(SampledSearch):
    name = "random"


class EvolutionSearch(SampledSearch):
    name = "evolution"


class TpeSearch(SampledSearch):
    name = "tpe"


def shares(ranked: Sequence[Blocks], space: SearchSpace) -> list[list[float]]:
    """How often each block serves each pair among the best tenth of the samples, (pairs, blocks)."""
    best = ranked[: max(1, len(ranked) // 10)]
    return [
        [sum(blocks[i] == name for blocks in best) / len(best) for name in space.blocks]
        for i in range(len(space.pairs))
    ]


def primary_metrics(trainer: Trainer, space: SearchSpace, blocks: Blocks, batches: int) -> dict[str, float]:
    """Each task's primary metric on validation, with the supernet's weights."""
    architecture = Architecture.from_space(space, dict(zip(space.pairs, blocks, strict=True)))
    return primary_values(evaluate_shared(trainer, architecture, batches), trainer.tasks)


def _metrics_or_nan(
    measure: Callable[[Blocks], dict[str, float]], blocks: Blocks, tasks: Iterable[str]
) -> dict[str, float]:
    """NaN for an architecture whose predictions are not finite, which the others need not share."""
    try:
        return measure(blocks)
    except Diverged:
        return dict.fromkeys(tasks, math.nan)


class Samples:
    """The evaluated architectures, in the order of their evaluation: {blocks: {task: primary metric}}.

    The first is the reference, none everywhere. All are kept in the run's samples.csv, from which they are read back.
    """

    def __init__(self, path: Path, space: SearchSpace, tasks: Mapping[str, Task]):
        self.path, self.space, self.tasks = path, space, tasks
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
