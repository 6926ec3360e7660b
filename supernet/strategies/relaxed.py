"""What the strategies with logits share: the callback that updates and records them, and the choice at the end."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiment.config import SearchSettings
from experiment.run import Run
from experiment.seeds import derive_seed
from multitask.training.callback import Callback
from search_spaces.blocks import Pair
from supernet.cost.budget import Budget
from supernet.records.choices import Choice
from supernet.records.selection_history import SELECTION, SelectionRecord
from supernet.samplers.relaxed import GumbelSampler
from supernet.selection import OPEN, Selection


class RelaxedCallback(Callback):
    """Keeps the logits' optimizer and their record in selection.csv; with the noise null, a generator of noise.

    A subclass says in `schedule` what changes with the step, and in `after_step` how the logits are updated.
    """

    def __init__(
        self, sampler: GumbelSampler, optimizer: torch.optim.Optimizer, search: SearchSettings, iterations: int
    ):
        self.sampler, self.selection, self.optimizer, self.iterations = (
            sampler,
            sampler.selection,
            optimizer,
            iterations,
        )
        self.every = search.record_every or max(1, iterations // 100)
        self.record: SelectionRecord | None = None
        self.recorded: str | None = None  # digest of the record when the checkpoint was saved
        if search.noise_null:
            # a seed of its own: from the sampler's, the noise would follow what the sampler draws
            seed = derive_seed(sampler.generator.initial_seed(), "noise")
            self.selection.noise = torch.Generator().manual_seed(seed)

    def schedule(self, step: int) -> None:
        """Sets what depends on the number of steps that are done."""

    def begin(self, run: Run, step: int) -> None:
        self.schedule(step)
        self.record = SelectionRecord(run.path(SELECTION), self.selection.space, step, self.recorded)
        if step % self.every == 0:  # otherwise a resumed record would have a row more
            self._add_record(step)

    def before_step(self, step: int) -> None:
        self.schedule(step)
        self.optimizer.zero_grad(set_to_none=True)

    def parameters(self) -> list[nn.Parameter]:
        return [self.selection.logits]

    def record_step(self, done: int) -> None:
        """Writes the probabilities where a record is due."""
        if done % self.every == 0 or done == self.iterations:
            self._add_record(done)

    def figures(self) -> dict[str, Tensor | float]:
        """The mean pair entropy in nats, and as a share of that of an even choice."""
        return {
            "entropy": self.selection.entropies().detach().mean(),
            "entropy_share": self.selection.entropies(normalize=True).detach().mean(),
        }

    def details(self) -> dict[str, float]:
        """The probability of each legal block of each pair."""
        space, rows = self.selection.space, self.selection.probabilities().tolist()
        return {
            f"probability/{target}_from_{source}/{block}": row[space.blocks.index(block)]
            for (target, source), row in zip(space.pairs, rows, strict=True)
            for block in space.legal((target, source))
        }

    def state_dict(self) -> dict[str, Any]:
        noise = self.selection.noise
        return {
            "optimizer": self.optimizer.state_dict(),
            "noise": None if noise is None else noise.get_state(),
            "recorded": None if self.record is None else self.record.digest,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.recorded = state["recorded"]
        if self.selection.noise is not None:
            self.selection.noise.set_state(state["noise"])

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
