"""darts and gdas: the weights learn from a part of the training images, the logits from the search-validation split.

Sources: Liu et al., DARTS (ICLR 2019), its first-order form; Dong and Yang, GDAS (CVPR 2019). Both update the logits by
Adam with these moments and this weight decay, after each step of the weights. The entropy has no weight, and no pair is
fixed before the end.
"""

from dataclasses import replace

import torch
from torch import Tensor

from experiment.config import Config, DartsSettings, GdasSettings, SearchSettings
from multitask.data import DatasetSplits
from multitask.sending import read
from multitask.training.trainer import Trainer
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.held_out_step import HeldOutStep
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
        logits = sampler.selection.logits
        optimizer = torch.optim.Adam([logits], settings.learning_rate, BETAS, weight_decay=WEIGHT_DECAY)
        super().__init__(sampler, optimizer, search, iterations)
        self.held_out = HeldOutStep(logits, optimizer, images, iterations)
        self.temperatures: tuple[float, float] | None = None
        if isinstance(settings, GdasSettings):
            self.temperatures = (settings.temperature_start, settings.temperature_end)

    def schedule(self, step: int) -> None:
        if self.temperatures is not None:
            self.sampler.temperature = linear_schedule(*self.temperatures, step, self.iterations)

    def after_step(self, done: int) -> None:
        self.held_out.take(self.trainer, done, self.regularization)
        self.schedule(done)
        self.record_step(done)

    def regularization(self) -> Tensor | float:
        """A term that is added to the logits' loss."""
        return 0.0

    def end(self) -> None:
        self.held_out.end()

    def figures(self) -> dict[str, Tensor | float]:
        temperature = {} if self.temperatures is None else {"temperature": self.sampler.temperature}
        return {**super().figures(), **temperature}
