"""What the search for a branching does beside the training of the weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from experiment.config import BranchingSettings
from experiment.run import Run
from multitask.training.callback import Callback
from multitask.training.trainer import Trainer
from supernet.branching.encoder import BranchingSupernet
from supernet.branching.expectation import expected_cost
from supernet.held_out_step import HeldOutStep
from supernet.records.branching_history import BRANCHING, BranchingRecord
from supernet.search_split import Images
from supernet.selection import linear_schedule


class BranchingCallback(Callback):
    """First a warm-up in which every task has its own copies; then, after each step of the weights, one of the logits
    on held-out images, with the expected cost in their loss.

    costs: of each unit once. every: steps between rows of branching.csv. trainer: of the weights; set it before the
    first step.
    """

    trainer: Trainer

    def __init__(
        self,
        supernet: BranchingSupernet,
        settings: BranchingSettings,
        costs: Sequence[float],
        images: Images,
        iterations: int,
        every: int,
    ):
        self.supernet, self.settings, self.costs, self.iterations = supernet, settings, costs, iterations
        self.every = every or max(1, iterations // 100)
        self.warm_up = round(settings.warm_up_fraction * iterations)
        logits = supernet.logits
        self.optimizer = torch.optim.Adam([logits], settings.learning_rate, weight_decay=settings.weight_decay)
        self.held_out = HeldOutStep(logits, self.optimizer, images, iterations)
        self.record: BranchingRecord | None = None
        self.recorded: str | None = None  # digest of the record when the checkpoint was saved

    def schedule(self, step: int) -> None:
        s = self.settings
        self.supernet.separate = step < self.warm_up
        after, left = max(0, step - self.warm_up), max(1, self.iterations - self.warm_up)
        self.supernet.temperature = linear_schedule(s.temperature_start, s.temperature_end, after, left)

    def begin(self, run: Run, step: int) -> None:
        self.schedule(step)
        tasks = self.supernet.encoder.branching.tasks
        self.record = BranchingRecord(run.path(BRANCHING), tasks, step, self.recorded)
        if step % self.every == 0:  # otherwise a resumed record would have a row more
            self._add_record(step)

    def before_step(self, step: int) -> None:
        self.schedule(step)

    def parameters(self) -> list[nn.Parameter]:
        return [self.supernet.logits]

    def after_step(self, done: int) -> None:
        if done > self.warm_up:
            self.held_out.take(self.trainer, done, self.resource_loss)
        self.schedule(done)
        if done % self.every == 0 or done == self.iterations:
            self._add_record(done)

    def resource_loss(self) -> Tensor:
        """The weight, once for every task, times the expected cost relative to that of an encoder shared by all."""
        return self.settings.resource_weight * self.supernet.logits.shape[1] * self._relative_cost().float()

    def _relative_cost(self) -> Tensor:
        generator, rule = self.supernet.generator, self.settings.resource
        return expected_cost(self.supernet.logits, self.costs, rule, generator) / sum(self.costs)

    def end(self) -> None:
        self.held_out.end()

    def figures(self) -> dict[str, Tensor | float]:
        """The mean entropy of a row in nats, and the expected cost relative to that of a shared encoder."""
        p = self.supernet.logits.detach().float().softmax(2)
        state = self.supernet.generator.get_state()
        with torch.no_grad():
            cost = self._relative_cost().float()
        self.supernet.generator.set_state(state)  # looking must not change what is drawn
        entropy = -(p * p.clamp_min(1e-30).log()).sum(2).mean()
        return {"temperature": self.supernet.temperature, "entropy": entropy, "relative_cost": cost}

    def state_dict(self) -> dict[str, Any]:
        recorded = None if self.record is None else self.record.digest
        return {"optimizer": self.optimizer.state_dict(), "recorded": recorded}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.recorded = state["recorded"]

    def _add_record(self, step: int) -> None:
        if self.record is not None:
            self.record.add(step, self.supernet.logits.detach().float().softmax(2).tolist())
