"""The single-level search of ATRC: the same batch updates weights and logits.

Source: Bruggemann et al., ATRC, ICCV 2021, section 3.3, with the settings of its public code.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from multitask.run import Run
from multitask.training import Training
from search_spaces.blocks import Pair
from supernet.record import SelectionRecord
from supernet.selection import OPEN, linear_schedule
from supernet.settings import SearchSettings, SelectionSettings
from supernet.strategy import Choice, Strategy
from supernet.supernet import Supernet

REFRESH_EVERY = 10  # steps between looks at which pairs are decided, each of which waits for a GPU


class GumbelSearch(Strategy):
    """Anneals temperature and entropy weight, updates the logits by Adam, fixes decided pairs, records the choice."""

    def __init__(self, supernet: Supernet, selection: SelectionSettings, search: SearchSettings, iterations: int):
        self.supernet, self.settings, self.iterations = supernet, selection, iterations
        self.selection = supernet.selection
        self.every = search.record_every or max(1, iterations // 100)
        self.optimizer = torch.optim.Adam([self.selection.logits], selection.learning_rate, weight_decay=0)
        self.entropy_weight = selection.entropy_start
        self.record: SelectionRecord | None = None
        if search.noise_null:
            self.selection.noise = torch.Generator().manual_seed(supernet.generator.initial_seed())

    def begin(self, run: Run, step: int) -> None:
        self._schedule(step)
        self.record = SelectionRecord(run.path("selection.csv"), self.selection.space, step)
        if step % self.every == 0:  # otherwise a resumed record would have a row more
            self._add_record(step)

    def before_step(self, step: int) -> None:
        self._schedule(step)
        self.optimizer.zero_grad(set_to_none=True)

    def loss(self) -> Tensor:
        return self.entropy_weight * self.selection.entropies(self.settings.normalize_entropy).mean()

    def parameters(self) -> list[nn.Parameter]:
        return [self.selection.logits]

    def after_step(self, done: int) -> None:
        self.optimizer.step()
        self.selection.fix_decided(self.settings.fix_gap)
        self._schedule(done)
        if done % REFRESH_EVERY == 0 or done == self.iterations:
            self.selection.refresh()
        if done % self.every == 0 or done == self.iterations:
            self._add_record(done)

    def choose(self, training: Training) -> dict[Pair, Choice]:
        """The likeliest blocks. This procedure has no measure of how sure they are."""
        selection = self.selection
        probabilities = selection.probabilities().detach().cpu()
        choices = {}
        for i, pair in enumerate(selection.space.pairs):
            ranked = probabilities[i].sort(descending=True).values.tolist()
            margin = ranked[0] - ranked[1] if len(ranked) > 1 else 1.0
            block = selection.space.blocks[int(selection.choices()[i])]
            choices[pair] = Choice(block, margin, None, selection.known[i] != OPEN)
        return choices

    def figures(self) -> dict[str, float]:
        entropies = self.selection.entropies().detach()
        return {
            "temperature": self.supernet.temperature,
            "entropy_weight": self.entropy_weight,
            "entropy": float(entropies.mean()),
            "entropy_share": float(self.selection.entropies(normalize=True).detach().mean()),
            "undecided": self.selection.undecided(),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self.supernet.generator.get_state(),
            "known": self.selection.known,
            "noise": None if self.selection.noise is None else self.selection.noise.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.supernet.generator.set_state(state["generator"])
        self.selection.known = state["known"]
        if self.selection.noise is not None:
            self.selection.noise.set_state(state["noise"])

    def _schedule(self, step: int) -> None:
        s = self.settings
        self.supernet.temperature = linear_schedule(s.temperature_start, s.temperature_end, step, self.iterations)
        self.entropy_weight = linear_schedule(s.entropy_start, s.entropy_end, step, self.iterations)

    def _add_record(self, step: int) -> None:
        if self.record is not None:
            self.record.add(step, self.selection.probabilities().detach().tolist())
