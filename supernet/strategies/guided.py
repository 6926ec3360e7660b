"""guided: the strategy score decides what it can; a small supernet settles the pairs that it leaves undecided.

A decided pair is fixed from the start and computes one block, or nothing. An undecided one starts with the logarithm of
its posterior probabilities as logits. Weights and logits are then trained as in gumbel, with Gumbel-softmax and entropy
regularization, but the logits on held-out images, as in darts. Without an undecided pair no supernet is trained.
"""

import math
from dataclasses import replace

import torch

from experiment.config import Config, DartsSettings, GuidedSettings, SearchSettings
from multitask.data import DatasetSplits
from multitask.sending import read
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.records.choices import Choice
from supernet.samplers.relaxed import GumbelSampler
from supernet.score_test.worth import Posterior, choice_of, choose
from supernet.search_split import Images
from supernet.selection import Selection, linear_schedule
from supernet.strategies.base import Strategy
from supernet.strategies.bilevel import BilevelCallback
from supernet.strategies.relaxed import likeliest
from supernet.strategies.score import Score, costs_of, measure

LEAST = 1e-3  # probability from which a logit starts
NETWORK = "without_exchange"  # the folder of the network that score measures


class Guided(Strategy):
    name = "guided"
    knows_scales = False

    @classmethod
    def check(cls, config: Config, dataset: DatasetSplits) -> None:
        Score.check(config, dataset)

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        config, space = context.config, context.space
        posterior, kept, held_out = measure(context, NETWORK)
        choices = choose(posterior, space, config.search.confidence, costs_of(context), context.budget)
        sampler = GumbelSampler(start(posterior, choices, context), context.generator("sampler"))
        if not sampler.selection.undecided():
            record = context.record()
            record.add(config.training.iterations, sampler.selection.probabilities().detach().tolist())
            return choices
        callback = GuidedCallback(sampler, config.search.guided, config.search, config.training.iterations, held_out)
        callback.trainer = context.trainer(context.supernet(sampler), callback, images=kept)
        callback.trainer.fit()
        context.figures = read(callback.figures())
        settled = likeliest(sampler.selection)
        for pair, choice in choices.items():
            block = settled[pair].block
            if not choice.decided and block != choice.block:
                choices[pair] = replace(choice_of(block, posterior.effects[pair, block]), decided=False)
        return choices


def start(posterior: Posterior, choices: dict[Pair, Choice], context: SearchContext) -> Selection:
    """The selection at the first step."""
    space = context.space
    selection = Selection(space)
    for i, pair in enumerate(space.pairs):
        choice = choices[pair]
        if choice.decided:
            selection.fixed[i] = space.blocks.index(choice.block)
        else:
            probabilities = posterior.probabilities(pair, space.blocks)
            with torch.no_grad():
                selection.logits[i] = torch.tensor([math.log(max(p, LEAST)) for p in probabilities])
    selection.refresh()
    return selection


class GuidedCallback(BilevelCallback):
    """The logits learn on held-out images, with ATRC's annealing of temperature and entropy weight."""

    def __init__(
        self,
        sampler: GumbelSampler,
        settings: GuidedSettings,
        search: SearchSettings,
        iterations: int,
        images: Images,
    ):
        super().__init__(sampler, DartsSettings(learning_rate=settings.learning_rate), search, iterations, images)
        self.own = settings

    def schedule(self, step: int) -> None:
        s = self.own
        self.sampler.temperature = linear_schedule(s.temperature_start, s.temperature_end, step, self.iterations)
        self.entropy_weight = linear_schedule(s.entropy_start, s.entropy_end, step, self.iterations)

    def regularization(self) -> torch.Tensor:
        return self.entropy_weight * self.selection.entropies().mean()
