"""The expected cost of a branched encoder, beside published figures and a count over all draws."""

from itertools import product

import pytest
import torch

from multitask.branching import Branching
from supernet.branching import expectation
from supernet.branching.expectation import expected_branches, expected_cost, partitions

# (tasks, logit of the first copy): branch-layers of one, two and three units of cost 1; those of the public code
TABLE = {
    (2, 0): ((1.5, 3.25, 5.125), (1.5, 3.25, 5.125)),
    (3, 0): ((2.1111, 4.7901, 7.6804), (2.1111, 4.8642, 7.8038)),
    (4, 0): ((2.7344, 6.3748, 10.2820), (2.7344, 6.5520, 10.5316)),
    (3, 2): ((1.5637, 3.5670, 5.8906), (1.5637, 3.7907, 6.4015)),
    (4, 2): ((1.9918, 4.7430, 8.0048), (1.9918, 5.3217, 9.1330)),
}


def logits_of(units, tasks, first):
    logits = torch.zeros(units, tasks, tasks)
    logits[:, :, 0] = first
    return logits


@pytest.mark.parametrize(("tasks", "first"), TABLE)
def test_expected_branch_layers(tasks, first):
    exact, published = TABLE[tasks, first]
    for units in (1, 2, 3):
        logits = logits_of(units, tasks, first)
        assert round(expected_cost(logits, [1] * units).item(), 4) == exact[units - 1]
        assert round(expected_cost(logits, [1] * units, "bmtas_code").item(), 4) == published[units - 1]


def test_eighteen_units():
    """Nearly shared by all, where the public code counts a third too much."""
    logits = logits_of(18, 4, 4)
    assert round(expected_cost(logits, [1] * 18).item(), 2) == 43.90
    assert round(expected_cost(logits, [1] * 18, "bmtas_code").item(), 2) == 57.70


def test_partitions_are_counted_by_bells_numbers():
    assert [len(partitions(tasks)) for tasks in range(1, 7)] == [1, 2, 5, 15, 52, 203]


def test_it_is_the_mean_over_all_draws():
    torch.manual_seed(0)
    logits, costs = torch.randn(2, 3, 3, dtype=torch.float64), [5.0, 2.0]
    chosen, expected = logits.softmax(2), 0.0
    for draw in product(range(3), repeat=6):
        copies = [draw[:3], draw[3:]]
        probability = torch.stack([chosen[u, t, copies[u][t]] for u in range(2) for t in range(3)]).prod()
        branches = Branching.from_copies(("a", "b", "c"), copies).branches()
        expected = expected + probability * sum(cost * count for cost, count in zip(costs, branches))
    assert torch.isclose(expected_cost(logits, costs), expected, rtol=1e-12)


def test_names_of_copies_and_order_of_tasks_do_not_matter():
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 4)
    whole = expected_branches(logits)
    for unit in range(3):
        renamed = logits.clone()
        renamed[unit] = logits[unit][:, torch.randperm(4)]
        assert torch.allclose(expected_branches(renamed), whole, rtol=1e-12)
    assert torch.allclose(expected_branches(logits[:, torch.randperm(4)]), whole, rtol=1e-12)


def test_its_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    for rule in expectation.RULES:
        logits = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda given, rule=rule: expected_cost(given, [1.0, 3.0], rule), (logits,))


def test_one_hot_logits_cost_what_their_tree_has():
    draws = [[0, 0, 1], [2, 2, 2], [0, 1, 1]]
    logits = 60 * torch.nn.functional.one_hot(torch.tensor(draws), 3).float()
    assert torch.allclose(
        expected_branches(logits),
        torch.tensor(Branching.from_copies(("a", "b", "c"), draws).branches(), dtype=torch.float64),
    )


def test_many_tasks_are_sampled(monkeypatch):
    torch.manual_seed(0)
    logits = torch.randn(3, 3, 3, requires_grad=True)
    exact = expected_cost(logits, [1.0, 2.0, 3.0])
    monkeypatch.setattr(expectation, "EXACT", 2)
    monkeypatch.setattr(expectation, "SAMPLES", 20_000)
    sampled = expected_cost(logits, [1.0, 2.0, 3.0], generator=torch.Generator().manual_seed(0))
    assert abs(sampled - exact) < 0.05, (sampled, exact)
    again = expected_cost(logits, [1.0, 2.0, 3.0], generator=torch.Generator().manual_seed(0))
    assert sampled == again
    (gradient,) = torch.autograd.grad(sampled, logits)
    assert gradient.abs().max() > 0 and gradient.sum(2).abs().max() < 1e-4
