"""gumbel: the single-level search of ATRC. The same batch updates weights and logits.

Source: Bruggemann et al., ATRC, ICCV 2021, section 3.3, with the settings of its public code.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from experiment.config import GumbelSettings, SearchSettings
from multitask.sending import read
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.cost.budget import Budget
from supernet.cost.lagrange import LagrangeMultiplier
from supernet.records.choices import Choice
from supernet.samplers.relaxed import GumbelSampler
from supernet.selection import Selection, linear_schedule
from supernet.strategies.base import Strategy
from supernet.strategies.relaxed import RelaxedCallback, likeliest

REFRESH_EVERY = 10  # steps between reads of which pairs are decided, each of which waits for a GPU


class Gumbel(Strategy):
    name = "gumbel"

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        config = context.config
        settings = config.search.gumbel
        selection, generator = Selection(context.space), context.generator("sampler")
        sampler = GumbelSampler(selection, generator, settings.sampling == "single_path")
        callback = GumbelCallback(sampler, settings, config.search, config.training.iterations, context.budget)
        context.trainer(context.supernet(sampler), callback).fit()
        context.figures = read(callback.figures())
        return likeliest(selection, context.budget)


class GumbelCallback(RelaxedCallback):
    """Anneals temperature and entropy weight, updates the logits by Adam, fixes decided pairs, records the choice."""

    def __init__(
        self,
        sampler: GumbelSampler,
        settings: GumbelSettings,
        search: SearchSettings,
        iterations: int,
        budget: Budget | None = None,
    ):
        logits, rate = sampler.selection.logits, settings.learning_rate
        super().__init__(sampler, torch.optim.Adam([logits], rate, weight_decay=0), search, iterations)
        self.settings, self.budget = settings, budget
        self.entropy_weight = settings.entropy_start
        self.multiplier = None if budget is None else LagrangeMultiplier(budget, self.selection, rate)

    def schedule(self, step: int) -> None:
        s = self.settings
        self.sampler.temperature = linear_schedule(s.temperature_start, s.temperature_end, step, self.iterations)
        self.entropy_weight = linear_schedule(s.entropy_start, s.entropy_end, step, self.iterations)

    def before_step(self, step: int) -> None:
        if self.multiplier is not None:
            self.multiplier.begin_step()
        super().before_step(step)

    def loss(self) -> Tensor:
        loss = self.entropy_weight * self.selection.entropies(self.settings.normalize_entropy).mean()
        return loss if self.multiplier is None else loss + self.multiplier.penalty()

    def after_step(self, done: int) -> None:
        self.optimizer.step()
        if self.multiplier is not None:
            self.multiplier.end_step()
        refresh = done % REFRESH_EVERY == 0 or done == self.iterations
        if self.budget is None:
            self.selection.fix_decided(self.settings.fix_gap)
        elif refresh:
            self.selection.fix_affordable(self.settings.fix_gap, self.budget.keeps)
        self.schedule(done)
        if refresh:
            self.selection.refresh()
        self.record_step(done)

    def figures(self) -> dict[str, Tensor | float]:
        return {
            "temperature": self.sampler.temperature,
            "entropy_weight": self.entropy_weight,
            **super().figures(),
            "undecided": self.selection.undecided(),
            **({} if self.multiplier is None else self.multiplier.figures()),
        }

    def state_dict(self) -> dict[str, Any]:
        multiplier = None if self.multiplier is None else self.multiplier.value.detach()
        return {**super().state_dict(), "known": self.selection.known, "multiplier": multiplier}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.selection.known = state["known"]
        if self.multiplier is not None:
            self.multiplier.value = state["multiplier"]
