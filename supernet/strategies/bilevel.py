"""darts and gdas: the weights learn from a part of the training images, the logits from the search-validation split.

Sources: Liu et al., DARTS (ICLR 2019), its first-order form; Dong and Yang, GDAS (CVPR 2019). Both update the logits by
Adam with these moments and this weight decay, after each step of the weights. The entropy has no weight, and no pair is
fixed before the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from experiment.config import Config, DartsSettings, GdasSettings, SearchSettings
from multitask.data import DatasetSplits, Sample
from multitask.sending import read
from multitask.training.trainer import Trainer
from search_spaces.blocks import Pair
from search_spaces.blocks.layers import frozen_statistics
from supernet.context import SearchContext
from supernet.records.choices import Choice
from supernet.samplers.relaxed import GumbelSampler, SoftmaxSampler
from supernet.search_split import Images, split_training
from supernet.selection import Selection, linear_schedule
from supernet.strategies.base import Strategy
from supernet.strategies.relaxed import RelaxedCallback, likeliest

BETAS = (0.5, 0.999)
WEIGHT_DECAY = 1e-3


class Darts(Strategy):
    """All candidates are computed, weighted by the softmax of the logits."""

    name = "darts"

    @classmethod
    def check(cls, config: Config, dataset: DatasetSplits) -> None:
        split_training(dataset, config.search.darts.validation_fraction)

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        sampler = SoftmaxSampler(Selection(context.space), context.generator("sampler"))
        return _search(context, sampler, context.config.search.darts)


class Gdas(Strategy):
    """One drawn candidate a pair is computed, with weight 1 and the gradient of its Gumbel-softmax weight."""

    name = "gdas"

    @classmethod
    def check(cls, config: Config, dataset: DatasetSplits) -> None:
        split_training(dataset, config.search.gdas.validation_fraction)

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        sampler = GumbelSampler(Selection(context.space), context.generator("sampler"), single_path=True)
        return _search(context, sampler, context.config.search.gdas)


def _search(
    context: SearchContext, sampler: GumbelSampler, settings: DartsSettings | GdasSettings
) -> dict[Pair, Choice]:
    kept, held_out = split_training(context.dataset, settings.validation_fraction)
    search, iterations = context.config.search, context.config.training.iterations
    callback = BilevelCallback(sampler, settings, search, iterations, held_out)
    callback.trainer = context.trainer(context.supernet(sampler), callback, images=kept)
    callback.trainer.fit()
    context.figures = read(callback.figures())
    # all count as decided: nothing here measures how reliable a choice is
    return {pair: replace(choice, decided=True) for pair, choice in likeliest(sampler.selection).items()}


class BilevelCallback(RelaxedCallback):
    """After each step of the weights, a step of the logits on images of the search-validation split.

    trainer: of the weights; set it before the first step.
    """

    trainer: Trainer

    def __init__(
        self,
        sampler: GumbelSampler,
        settings: DartsSettings | GdasSettings,
        search: SearchSettings,
        iterations: int,
        images: Images,
    ):
        logits = sampler.selection.logits.requires_grad_(False)  # except while they learn
        optimizer = torch.optim.Adam([logits], settings.learning_rate, BETAS, weight_decay=WEIGHT_DECAY)
        super().__init__(sampler, optimizer, search, iterations)
        self.images = images
        self.temperatures: tuple[float, float] | None = None
        if isinstance(settings, GdasSettings):
            self.temperatures = (settings.temperature_start, settings.temperature_end)
        self.samples: Iterator[Sample] | None = None  # from the first step to the last, or its workers stay behind

    def schedule(self, step: int) -> None:
        if self.temperatures is not None:
            self.sampler.temperature = linear_schedule(*self.temperatures, step, self.iterations)

    def after_step(self, done: int) -> None:
        trainer = self.trainer
        if self.samples is None:
            self.samples = iter(trainer.loader(self.images, done - 1, self.iterations))  # type: ignore[arg-type]
        sample = next(self.samples)
        with self._logits_learn():
            batch = trainer.augment(sample, trainer.device)
            losses = trainer.losses(trainer.model(batch.image, batch.valid), batch)
            trainer.watch(done, {f"held-out loss of {name}": loss for name, loss in losses.items()}, batch)
            total = torch.stack(list(losses.values())).sum() + self.regularization()
            if total.requires_grad:  # not so where `none` was drawn for every pair
                trainer.backward(total, self.parameters())
        trainer.clip(self.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule(done)
        self.record_step(done)

    def regularization(self) -> Tensor | float:
        """A term that is added to the logits' loss."""
        return 0.0

    def end(self) -> None:
        self.samples = None

    def figures(self) -> dict[str, Tensor | float]:
        temperature = {} if self.temperatures is None else {"temperature": self.sampler.temperature}
        return {**super().figures(), **temperature}

    @contextmanager
    def _logits_learn(self) -> Iterator[None]:
        """While open, gradients reach the logits and no weights, so that little needs to be kept for them, and the
        images leave no trace in batch statistics.
        """
        trainable = [parameter for parameter in self.trainer.parameters if parameter.requires_grad]
        self.selection.logits.requires_grad_(True)
        for parameter in trainable:
            parameter.requires_grad_(False)
        try:
            with frozen_statistics(self.trainer.network):
                yield
        finally:
            self.selection.logits.requires_grad_(False)
            for parameter in trainable:
                parameter.requires_grad_(True)
