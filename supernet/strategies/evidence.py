"""The search by held-out evidence: train all candidates as one mixture, then ask images that it has not seen.

Two supernets share the training images and the steps: each learns from one part and is asked about the other, so that
every image is evidence and nothing rests on one training alone. On the held-out images `evidence` measures what each
pair's messages hold, and `infer_posterior` says what to choose and how sure that is.
"""

import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiment.config import SearchSettings, TrainingSettings
from experiment.progress import Progress
from experiment.run import Run
from multitask.data import Batch, DatasetSplits
from multitask.data.loader import evaluation_loader
from multitask.data.samples import plain_batch
from multitask.network import MultiTaskNetwork, shrink
from multitask.tasks import Task
from multitask.training.trainer import Trainer
from search_spaces import Exchange
from search_spaces.blocks import Pair
from supernet.cost.budget import Budget
from supernet.cost.table import block_costs
from supernet.records.choices import Choice
from supernet.records.selection_history import SELECTION, SelectionRecord
from supernet.score_test.evidence import Evidence, HeldOut, collect, pool, probe_exchanges
from supernet.score_test.posterior import PairPosterior, infer_posterior
from supernet.score_test.uniform_mixture import UniformMixture
from supernet.search_split import Part, hold_out
from supernet.strategies.base import Strategy
from supernet.supernet import Supernet

BATCH = 16  # held-out images at a time
LOG_EVERY = 10  # batches
FIRST, FIRST_SEED = "first", 1000  # the first supernet's folder in the run, and its distance from the run's seed


def halved(iterations: int) -> int:
    """The steps of each of two supernets."""
    return -(-iterations // 2)


class _MixtureTraining(Strategy):
    """Goes along with the training of a supernet whose candidates all speak."""

    def __init__(self, supernet: Supernet):
        self.supernet = supernet

    def parameters(self) -> list[nn.Parameter]:
        return [self.supernet.selection.logits]  # not used, and so not to be trained or decayed

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.supernet.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.supernet.generator.set_state(state["generator"])


class EvidenceSearch(_MixtureTraining):
    """The first supernet learns from a part of the training images, the second from the rest;
    pairs are left out at the rate `search.evidence.pair_dropout`.
    """

    def __init__(self, supernet: Supernet, search: SearchSettings, iterations: int, budget: Budget | None = None):
        super().__init__(supernet)
        self.budget, self.settings = budget, search
        self.steps = halved(iterations)
        self.space = supernet.selection.space
        self.mixture = UniformMixture(self.space, UniformMixture.everything(self.space), search.evidence.pair_dropout)
        supernet.mixture = self.mixture
        self.record: SelectionRecord | None = None
        self.parts: tuple[Part, Part] | None = None  # of the training images
        self.found: list[dict[Pair, Evidence]] = []  # by the first supernet, and the second

    def training_settings(self, settings: TrainingSettings) -> TrainingSettings:
        return replace(settings, iterations=self.steps)

    def training_images(self, source: DatasetSplits) -> DatasetSplits:
        source, part = hold_out(source, self.settings.evidence.validation_fraction)
        kept = source.splits["train"]
        assert isinstance(kept, Part)
        self.parts = (part, kept)
        return source

    def attach(self, training: Trainer) -> None:
        """Trains the first supernet, which starts from the same backbone and from an exchange of its own."""
        assert self.parts is not None
        own, others = self.parts
        seed = training.seed + FIRST_SEED
        torch.manual_seed(seed)
        network = deepcopy(training.network)
        assert isinstance(network, MultiTaskNetwork) and isinstance(network.exchange, Supernet)
        supernet, former = network.exchange, network.exchange.exchange
        supernet.exchange = Exchange(self.space, former.channels, recompute=former.recompute).to(training.device)
        supernet.generator = torch.Generator().manual_seed(seed)
        supernet.mixture = self.mixture
        dataset = training.recipe.dataset
        recipe = replace(training.recipe, dataset=replace(dataset, splits={**dataset.splits, "train": own}))
        run = Run(training.run.path(FIRST), {"iterations": self.steps, "seed": seed}, resume=True)
        first = Trainer(network, recipe, run, seed, callback=_MixtureTraining(supernet), label="first supernet")
        first.fit()
        self.training_seconds = first.seconds
        began = time.monotonic()
        self.found = [self._ask(first, supernet, others)]
        self.choice_seconds = time.monotonic() - began
        torch.manual_seed(training.seed)

    def begin(self, run: Run, step: int) -> None:
        self.record = SelectionRecord(run.path(SELECTION), self.space, step)
        if step == 0:
            self.record.add_even()

    def choose(self, training: Trainer) -> dict[Pair, Choice]:
        assert self.parts is not None
        self.found.append(self._ask(training, self.supernet, self.parts[0]))
        data = training.recipe.data
        size = (-(-data.height // 4), -(-data.width // 4))
        costs = block_costs(self.space, self.supernet.exchange.channels, size)
        posteriors = infer_posterior(pool(self.found), costs, self.settings.confidence)
        if self.record is not None:
            self.record.add(self.steps, [self._probabilities(posteriors.get(pair)) for pair in self.space.pairs])
        choices = {}
        for pair in self.space.pairs:
            found = posteriors.get(pair)
            if found is None:  # nothing but none is legal
                choices[pair] = Choice("none", 1.0)
            else:
                choices[pair] = Choice(found.choice, found.p_correct, found.decided)
        return choices if self.budget is None else self._within(self.budget, choices, posteriors)

    def _ask(self, training: Trainer, supernet: Supernet, images: Part) -> dict[Pair, Evidence]:
        """What a trained supernet knows about images that it has not seen."""
        network = training.network
        assert isinstance(network, MultiTaskNetwork)
        network.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            probes = probe_exchanges(self.space, supernet.exchange.channels)
        for one in probes:
            one.exchange.to(training.device)
        return collect(supernet.exchange, self._batches(network, training, images), self.mixture.open, probes)

    def _within(
        self, budget: Budget, choices: dict[Pair, Choice], posteriors: Mapping[Pair, PairPosterior]
    ) -> dict[Pair, Choice]:
        """As chosen, if that keeps the budget. Else the pairs that speak are given the blocks, or none, whose
        probabilities of being the best add up to most; one that this changes counts as undecided.
        """
        worth: dict[Pair, dict[str, float]] = {}
        for pair, choice in choices.items():
            worth[pair] = {"none": 0.0}
            if choice.block != "none":
                found = posteriors[pair]
                worth[pair] |= {name: found.p_exchange * chance for name, chance in found.p_best.items()}
        if budget.keeps({pair: choice.block for pair, choice in choices.items()}):
            return choices
        changed = {}
        for pair, block in budget.choose(worth).items():
            former = choices[pair]
            probability = worth[pair][block] if block != "none" else 1 - posteriors[pair].p_exchange
            changed[pair] = former if block == former.block else Choice(block, probability, False)
        return changed

    def _batches(self, network: MultiTaskNetwork, training: Trainer, images: Part) -> Iterator[HeldOut]:
        # of the noise null: a random sign per image leaves nothing that messages and errors could have in common
        signs = torch.Generator().manual_seed(training.seed) if self.settings.noise_null else None
        batch_size = max(BATCH, training.settings.batch_size)
        progress = Progress(-(-len(images) // batch_size), 0, "held-out images")
        loader = evaluation_loader(images, batch_size, training.recipe.data.workers, False)
        for step, sample in enumerate(loader, 1):
            batch = plain_batch(sample, training.device)
            with torch.no_grad():
                features, regions = network.features(batch.image)
            sign = None
            if signs is not None:
                sign = (2.0 * torch.randint(2, (len(batch.image),), generator=signs) - 1).to(training.device)
            losses = partial(image_losses, network, training.tasks, batch, sign)
            yield HeldOut(features, regions, losses, shrink(batch.valid, features))
            progress.advance()
            if step % LOG_EVERY == 0:
                progress.log(step, {})
        progress.close()

    def _probabilities(self, posterior: PairPosterior | None) -> list[float]:
        """As selection.csv holds them: none has what is missing to something, candidates share that by their worth."""
        if posterior is None:
            return [float(name == "none") for name in self.space.blocks]
        total = sum(posterior.p_best.values()) or 1.0
        shares = {name: posterior.p_exchange * chance / total for name, chance in posterior.p_best.items()}
        return [shares.get(name, 0.0) if name != "none" else 1 - posterior.p_exchange for name in self.space.blocks]


def image_losses(
    network: MultiTaskNetwork,
    tasks: Mapping[str, Task],
    batch: Batch,
    sign: Tensor | None,
    refined: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Each task's loss on each image, (B,), of refined features {task: (B, C, H/4, W/4)}."""
    predictions = network.predict({name: refined[name] for name in tasks}, batch.image.shape[2:])
    losses = {}
    for name, task in tasks.items():
        each = task.image_losses(predictions[name], batch.labels[name], batch.masks[name])
        losses[name] = each if sign is None else each * sign
    return losses
