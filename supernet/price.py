"""A price on cost, which keeps what a search draws within its budget."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from supernet.budget import Budget
from supernet.selection import Selection


class Price:
    """What cost takes off the logits where candidates are drawn; it falls when it is not needed.

    The penalty on the expected cost above the budget moves the price alone. Were it to move the logits, Adam would turn
    all pairs alike towards none, whatever the tasks say. So the logits stay what the tasks say; the choice is made by
    them. Unit: logits per mean cost of a candidate.
    """

    def __init__(self, budget: Budget, selection: Selection, learning_rate: float):
        self.budget, self.selection, self.learning_rate = budget, selection, learning_rate
        rows = budget.rows.to(selection.logits.device)
        self.unit = rows / rows.sum().clamp_min(1e-30) * (rows > 0).sum()
        self.value = nn.Parameter(torch.zeros((), device=rows.device))
        self.optimizer = torch.optim.Adam([self.value], learning_rate)

    def begin_step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.selection.prices = self.value.detach() * self.unit

    def expected_share(self) -> Tensor:
        """The mean cost of what is drawn at present over the budget; its gradient goes to the price."""
        logits = self.selection.masked_logits().detach() - self.value * self.unit
        return self.budget.expected(self.selection.decided_or(logits.softmax(1))) / self.budget.limit

    def penalty(self) -> Tensor:
        """budget_weight * max(0, expected cost / budget - 1)."""
        return self.budget.weight * torch.relu(self.expected_share() - 1)

    @torch.no_grad()
    def end_step(self) -> None:
        assert self.value.grad is not None  # of the penalty
        needed = self.value.grad != 0
        self.optimizer.step()
        self.value.mul_(torch.where(needed, 1.0, 1 - self.learning_rate)).clamp_(min=0)

    def figures(self) -> dict[str, float]:
        return {"price": float(self.value.detach()), "cost_share": float(self.expected_share().detach())}

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value.detach(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.value.data.copy_(state["value"])
        self.optimizer.load_state_dict(state["optimizer"])
