"""Searches on two levels: the weights learn from a part of the training images, the logits from the others.

Sources: Liu et al., DARTS (ICLR 2019), its first-order form; Dong and Yang, GDAS (CVPR 2019). Both update the logits by
Adam with these moments and this weight decay, after each step of the weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from experiment.config import DartsSettings, GdasSettings, GumbelSettings, SearchSettings
from multitask.data import DatasetSplits, Sample
from multitask.training.trainer import Trainer
from search_spaces.blocks import Pair
from search_spaces.blocks.layers import frozen_statistics
from supernet.search_split import Part, hold_out
from supernet.selection import linear_schedule
from supernet.strategies.base import Choice
from supernet.strategies.gumbel import GumbelSearch
from supernet.supernet import Supernet

BETAS = (0.5, 0.999)
WEIGHT_DECAY = 1e-3
SAMPLINGS = {"darts": "softmax", "gdas": "single_path"}


class BilevelSearch(GumbelSearch):
    """darts computes all candidates, weighted by the softmax of the logits; gdas one drawn candidate per pair, whose
    weight is 1 with the soft weight's gradient. The logits learn from a search-validation split.

    No entropy counts, and no pair is fixed before the end.
    """

    def __init__(
        self,
        supernet: Supernet,
        name: str,
        settings: DartsSettings | GdasSettings,
        search: SearchSettings,
        iterations: int,
    ):
        super().__init__(supernet, GumbelSettings(), search, iterations)
        logits = self.selection.logits.requires_grad_(False)  # except while they learn
        self.optimizer = torch.optim.Adam([logits], settings.learning_rate, BETAS, weight_decay=WEIGHT_DECAY)
        self.name, self.held_out = name, settings.validation_fraction
        self.temperatures = (
            (settings.temperature_start, settings.temperature_end) if isinstance(settings, GdasSettings) else (1.0, 1.0)
        )
        self.entropy_weight = 0.0
        supernet.sampling = SAMPLINGS[name]
        self.part: Part | None = None
        self.training: Trainer | None = None
        self.samples: Iterator[Sample] | None = None  # from the first step to the last, or its workers stay behind

    def training_images(self, source: DatasetSplits) -> DatasetSplits:
        source, self.part = hold_out(source, self.held_out)
        return source

    def attach(self, training: Trainer) -> None:
        self.training = training

    def loss(self) -> Tensor:
        return torch.zeros((), device=self.selection.logits.device)

    def after_step(self, done: int) -> None:
        training = self.training
        assert training is not None, "attach comes before the first step"
        if self.samples is None:
            self.samples = self._held_out_samples(training, done - 1)
        sample = next(self.samples)
        with self._logits_learn(training):
            batch = training.augment(sample, training.device)
            losses = training.losses(training.model(batch.image, batch.valid), batch)
            total = torch.stack(list(losses.values())).sum()
            if total.requires_grad:  # not so where none was drawn for every pair
                training.recipe.fabric.backward(total)
        training.clip(self.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._schedule(done)
        if done % self.every == 0 or done == self.iterations:
            self._add_record(done)

    def end(self) -> None:
        self.samples = None

    def choose(self, training: Trainer) -> dict[Pair, Choice]:
        """The likeliest blocks, all decided, since nothing here says how sure they are."""
        return {pair: replace(choice, decided=True) for pair, choice in super().choose(training).items()}

    def figures(self) -> dict[str, float]:
        shown = ["entropy", "entropy_share", *(["temperature"] if self.name == "gdas" else [])]
        figures = super().figures()
        return {name: figures[name] for name in shown}

    def _schedule(self, step: int) -> None:
        self.supernet.temperature = linear_schedule(*self.temperatures, step, self.iterations)

    def _held_out_samples(self, training: Trainer, step: int) -> Iterator[Sample]:
        assert self.part is not None
        return iter(training.loader(self.part, step, training.settings.iterations))

    @contextmanager
    def _logits_learn(self, training: Trainer) -> Iterator[None]:
        """While open, gradients reach the logits and no weights, so that little needs to be kept for them, and the
        images leave no trace in batch statistics.
        """
        self.selection.logits.requires_grad_(True)
        for parameter in training.parameters:
            parameter.requires_grad_(False)
        try:
            with frozen_statistics(training.network):
                yield
        finally:
            self.selection.logits.requires_grad_(False)
            for parameter in training.parameters:
                parameter.requires_grad_(True)
