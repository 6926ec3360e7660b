"""gumbel: the single-level search of ATRC. The same batch updates weights and logits.

Source: Bruggemann et al., ATRC, ICCV 2021, section 3.3, with the settings of its public code.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiment.config import GumbelSettings, SearchSettings
from experiment.run import Run
from experiment.seeds import derive_seed
from multitask.training.callback import Callback
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.cost.budget import Budget
from supernet.cost.lagrange import LagrangeMultiplier
from supernet.records.choices import Choice
from supernet.records.selection_history import SELECTION, SelectionRecord
from supernet.samplers.relaxed import GumbelSampler
from supernet.selection import OPEN, Selection, linear_schedule
from supernet.strategies.base import Strategy

REFRESH_EVERY = 10  # steps between reads of which pairs are decided, each of which waits for a GPU


class Gumbel(Strategy):
    name = "gumbel"

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        config = context.config
        settings = config.search.gumbel
        sampler = GumbelSampler(
            Selection(context.space), sampling_generator(context.seed), settings.sampling == "single_path"
        )
        callback = GumbelCallback(sampler, settings, config.search, config.training.iterations, context.budget)
        context.trainer(context.supernet(sampler), callback).fit()
        context.figures = callback.figures()
        return likeliest(sampler.selection, context.budget)


class GumbelCallback(Callback):
    """Anneals temperature and entropy weight, updates the logits by Adam, fixes decided pairs, records the choice."""

    def __init__(
        self,
        sampler: GumbelSampler,
        settings: GumbelSettings,
        search: SearchSettings,
        iterations: int,
        budget: Budget | None = None,
    ):
        self.sampler, self.selection, self.settings, self.iterations = sampler, sampler.selection, settings, iterations
        self.every = record_every(search, iterations)
        self.optimizer = torch.optim.Adam([self.selection.logits], settings.learning_rate, weight_decay=0)
        self.entropy_weight = settings.entropy_start
        self.record: SelectionRecord | None = None
        self.budget = budget
        rate = settings.learning_rate
        self.multiplier = None if budget is None else LagrangeMultiplier(budget, self.selection, rate)
        if search.noise_null:
            self.selection.noise = noise_generator(sampler)

    def begin(self, run: Run, step: int) -> None:
        self._schedule(step)
        self.record = SelectionRecord(run.path(SELECTION), self.selection.space, step)
        if step % self.every == 0:  # otherwise a resumed record would have a row more
            self._add_record(step)

    def before_step(self, step: int) -> None:
        if self.multiplier is not None:
            self.multiplier.begin_step()
        self._schedule(step)
        self.optimizer.zero_grad(set_to_none=True)

    def loss(self) -> Tensor:
        loss = self.entropy_weight * self.selection.entropies(self.settings.normalize_entropy).mean()
        return loss if self.multiplier is None else loss + self.multiplier.penalty()

    def parameters(self) -> list[nn.Parameter]:
        return [self.selection.logits]

    def after_step(self, done: int) -> None:
        self.optimizer.step()
        if self.multiplier is not None:
            self.multiplier.end_step()
        refresh = done % REFRESH_EVERY == 0 or done == self.iterations
        if self.budget is None:
            self.selection.fix_decided(self.settings.fix_gap)
        elif refresh:
            self.selection.fix_affordable(self.settings.fix_gap, self.budget.keeps)
        self._schedule(done)
        if refresh:
            self.selection.refresh()
        if done % self.every == 0 or done == self.iterations:
            self._add_record(done)

    def figures(self) -> dict[str, float]:
        return {
            "temperature": self.sampler.temperature,
            "entropy_weight": self.entropy_weight,
            **entropy_figures(self.selection),
            "undecided": self.selection.undecided(),
            **({} if self.multiplier is None else self.multiplier.figures()),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "known": self.selection.known,
            "noise": None if self.selection.noise is None else self.selection.noise.get_state(),
            "multiplier": None if self.multiplier is None else self.multiplier.value.detach(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.selection.known = state["known"]
        if self.multiplier is not None:
            self.multiplier.value = state["multiplier"]
        if self.selection.noise is not None:
            self.selection.noise.set_state(state["noise"])

    def _schedule(self, step: int) -> None:
        s = self.settings
        self.sampler.temperature = linear_schedule(s.temperature_start, s.temperature_end, step, self.iterations)
        self.entropy_weight = linear_schedule(s.entropy_start, s.entropy_end, step, self.iterations)

    def _add_record(self, step: int) -> None:
        if self.record is not None:
            self.record.add(step, self.selection.probabilities().detach().tolist())


def likeliest(selection: Selection, budget: Budget | None = None) -> dict[Pair, Choice]:
    """The likeliest blocks, all together within the budget. The procedure gives no probability of being right."""
    chosen = [selection.space.blocks[i] for i in selection.choices().tolist()]
    if budget is not None:
        chosen = list(budget.choose(_log_probabilities(selection)).values())
    return {pair: Choice(chosen[i], decided=selection.known[i] != OPEN) for i, pair in enumerate(selection.space.pairs)}


def _log_probabilities(selection: Selection) -> dict[Pair, dict[str, float]]:
    """Of each legal block of an open pair; of a decided pair its block alone."""
    space = selection.space
    logs = selection.masked_logits().log_softmax(1).tolist()
    by_pair = {}
    for i, pair in enumerate(space.pairs):
        known = selection.known[i]
        names = space.legal(pair) if known == OPEN else (space.blocks[known],)
        by_pair[pair] = {name: logs[i][space.blocks.index(name)] for name in names}
    return by_pair


def entropy_figures(selection: Selection) -> dict[str, float]:
    """The mean pair entropy in nats, and as a share of that of an even choice."""
    return {
        "entropy": float(selection.entropies().detach().mean()),
        "entropy_share": float(selection.entropies(normalize=True).detach().mean()),
    }


def record_every(search: SearchSettings, iterations: int) -> int:
    return search.record_every or max(1, iterations // 100)


def sampling_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, "sampler"))


def noise_generator(sampler: GumbelSampler) -> torch.Generator:
    """For the noise null."""
    return torch.Generator().manual_seed(sampler.generator.initial_seed())
