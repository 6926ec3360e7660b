"""A Lagrange multiplier on cost, which keeps the candidates that a search draws within its budget."""

import torch
from torch import Tensor

from supernet.cost.budget import Budget
from supernet.selection import Selection


class LagrangeMultiplier:
    """Subtracted from the sampling logits, times each candidate's cost, in logits per mean cost of a candidate.

    It rises while the expected cost exceeds the budget, as fast as logits move at most, and falls otherwise. The logits
    themselves get no gradient from cost: Adam would move all pairs towards `none` alike, whatever the tasks' gradients.
    """

    def __init__(self, budget: Budget, selection: Selection, learning_rate: float):
        self.budget, self.selection, self.learning_rate = budget, selection, learning_rate
        self.unit = budget.rows / budget.rows.sum().clamp_min(1e-30) * (budget.rows > 0).sum()
        self.value = torch.zeros(())

    def begin_step(self) -> None:
        device = self.selection.logits.device
        self.unit, self.value = self.unit.to(device), self.value.to(device).requires_grad_()
        self.selection.penalties = self.value.detach() * self.unit

    def expected_share(self) -> Tensor:
        """Expected cost of the current draws over the budget; its gradient goes to the multiplier."""
        logits = self.selection.masked_logits().detach() - self.value * self.unit
        return self.budget.expected(self.selection.decided_or(logits.softmax(1))) / self.budget.limit

    def penalty(self) -> Tensor:
        """max(0, expected cost / budget - 1)."""
        return torch.relu(self.expected_share() - 1)

    @torch.no_grad()
    def end_step(self) -> None:
        gradient = self.value.grad
        assert gradient is not None  # the penalty is part of the loss
        value, rate = self.value.detach(), self.learning_rate
        self.value = torch.where(gradient == 0, value * (1 - rate), value - rate * gradient.sign()).clamp_min(0)

    def figures(self) -> dict[str, Tensor]:
        return {"multiplier": self.value.detach(), "cost_share": self.expected_share().detach()}
