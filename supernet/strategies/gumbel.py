"""The single-level search of ATRC: the same batch updates weights and logits.

Source: Bruggemann et al., ATRC, ICCV 2021, section 3.3, with the settings of its public code.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiment.config import GumbelSettings, SearchSettings
from experiment.run import Run
from multitask.training.trainer import Trainer
from search_spaces.blocks import Pair
from supernet.cost.budget import Budget
from supernet.cost.lagrange import LagrangeMultiplier
from supernet.records.choices import Choice
from supernet.records.selection_history import SELECTION, SelectionRecord
from supernet.selection import OPEN, linear_schedule
from supernet.strategies.base import Strategy
from supernet.supernet import Supernet

REFRESH_EVERY = 10  # steps between looks at which pairs are decided, each of which waits for a GPU


class GumbelSearch(Strategy):
    """Anneals temperature and entropy weight, updates the logits by Adam, fixes decided pairs, records the choice."""

    def __init__(
        self, supernet: Supernet, selection: GumbelSettings, search: SearchSettings, iterations: int,
        budget: Budget | None = None,
    ):  # fmt: skip
        self.supernet, self.settings, self.iterations = supernet, selection, iterations
        self.selection = supernet.selection
        self.every = search.record_every or max(1, iterations // 100)
        self.optimizer = torch.optim.Adam([self.selection.logits], selection.learning_rate, weight_decay=0)
        self.entropy_weight = selection.entropy_start
        self.record: SelectionRecord | None = None
        self.budget = budget
        self.price = None if budget is None else LagrangeMultiplier(budget, self.selection, selection.learning_rate)
        if search.noise_null:
            self.selection.noise = torch.Generator().manual_seed(supernet.generator.initial_seed())

    def begin(self, run: Run, step: int) -> None:
        self._schedule(step)
        self.record = SelectionRecord(run.path(SELECTION), self.selection.space, step)
        if step % self.every == 0:  # otherwise a resumed record would have a row more
            self._add_record(step)

    def before_step(self, step: int) -> None:
        if self.price is not None:
            self.price.begin_step()
        self._schedule(step)
        self.optimizer.zero_grad(set_to_none=True)

    def loss(self) -> Tensor:
        loss = self.entropy_weight * self.selection.entropies(self.settings.normalize_entropy).mean()
        return loss if self.price is None else loss + self.price.penalty()

    def parameters(self) -> list[nn.Parameter]:
        return [self.selection.logits]

    def after_step(self, done: int) -> None:
        self.optimizer.step()
        if self.price is not None:
            self.price.end_step()
        looks = done % REFRESH_EVERY == 0 or done == self.iterations
        if self.budget is None:
            self.selection.fix_decided(self.settings.fix_gap)
        elif looks:
            self.selection.fix_affordable(self.settings.fix_gap, self.budget.keeps)
        self._schedule(done)
        if looks:
            self.selection.refresh()
        if done % self.every == 0 or done == self.iterations:
            self._add_record(done)

    def choose(self, training: Trainer) -> dict[Pair, Choice]:
        """The most probable blocks within the budget, without posterior probabilities."""
        selection = self.selection
        chosen = [selection.space.blocks[i] for i in selection.choices().tolist()]
        if self.budget is not None:
            chosen = list(self.budget.choose(self._likelihoods()).values())
        pairs = enumerate(selection.space.pairs)
        return {pair: Choice(chosen[i], decided=selection.known[i] != OPEN) for i, pair in pairs}

    def _likelihoods(self) -> dict[Pair, dict[str, float]]:
        """The log-probability of each legal block of an open pair; of a decided pair its block alone."""
        space = self.selection.space
        logs = self.selection.masked_logits().log_softmax(1).tolist()
        found = {}
        for i, pair in enumerate(space.pairs):
            known = self.selection.known[i]
            names = space.legal(pair) if known == OPEN else (space.blocks[known],)
            found[pair] = {name: logs[i][space.blocks.index(name)] for name in names}
        return found

    def figures(self) -> dict[str, float]:
        entropies = self.selection.entropies().detach()
        return {
            "temperature": self.supernet.temperature,
            "entropy_weight": self.entropy_weight,
            "entropy": float(entropies.mean()),
            "entropy_share": float(self.selection.entropies(normalize=True).detach().mean()),
            "undecided": self.selection.undecided(),
            **({} if self.price is None else self.price.figures()),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self.supernet.generator.get_state(),
            "known": self.selection.known,
            "noise": None if self.selection.noise is None else self.selection.noise.get_state(),
            "price": None if self.price is None else self.price.value.detach(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.supernet.generator.set_state(state["generator"])
        self.selection.known = state["known"]
        if self.price is not None:
            self.price.value = state["price"]
        if self.selection.noise is not None:
            self.selection.noise.set_state(state["noise"])

    def _schedule(self, step: int) -> None:
        s = self.settings
        self.supernet.temperature = linear_schedule(s.temperature_start, s.temperature_end, step, self.iterations)
        self.entropy_weight = linear_schedule(s.entropy_start, s.entropy_end, step, self.iterations)

    def _add_record(self, step: int) -> None:
        if self.record is not None:
            self.record.add(step, self.selection.probabilities().detach().tolist())
