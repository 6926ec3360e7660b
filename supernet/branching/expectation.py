"""The expected cost of a branched encoder whose tasks draw the copies of its units.

Of unit l, task t takes copy i with probability softmax(logits[l, t])_i, tasks and units independently. Tasks share a
unit if they took the same copies from the first unit on: the partition of unit l is the common refinement of those that
the draws of units 1 to l make. With P_0 all together,

    P_l(p) = sum over p', s with p' ^ s = p of P_{l-1}(p') P(s | logits[l]),   cost = sum_l c_l sum_p P_l(p) |p|

Source: the resource loss of Bruggemann et al., BMTAS, BMVC 2020. Its public code counts otherwise: `_as_published`.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product

import torch
from torch import Tensor

from multitask.sending import send

EXACT = 6  # tasks: of 6, 203 partitions and 46,656 draws of a unit; of 7, 877 and 823,543
SAMPLES = 256  # draws where there are more tasks

Blocks = tuple[int, ...]  # a partition: for each task the number of its group, in the order in which groups appear


def expected_cost(
    logits: Tensor, costs: Sequence[float], rule: str = "exact", generator: torch.Generator | None = None
) -> Tensor:
    """A scalar, float64, differentiable. costs: of each unit once; all else as in `expected_branches`."""
    once = send(torch.tensor(costs, dtype=torch.float64), logits.device)
    return (once * expected_branches(logits, rule, generator)).sum()


def expected_branches(logits: Tensor, rule: str = "exact", generator: torch.Generator | None = None) -> Tensor:
    """(units,), float64: how often each unit is expected to be there.

    logits: (units, tasks, copies). rule: a name in `RULES`. With more than `EXACT` tasks it is a mean over draws from
    the generator (None: torch's own), with the gradient of Gumbel-softmax.
    """
    logits, tasks = logits.double(), logits.shape[1]
    if tasks > EXACT:
        return _sampled_branches(logits, generator)
    table = partitions(tasks)
    groups = send(torch.tensor([max(p) + 1 for p in table], dtype=torch.float64), logits.device)
    before = torch.zeros_like(groups)
    before[table.index((0,) * tasks)] = 1
    branches = []
    for drawn in _draws(logits):
        before = RULES[rule](before, drawn, tasks)
        branches.append((before * groups).sum())
    return torch.stack(branches)


def _draws(logits: Tensor) -> Tensor:
    """(units, partitions): the probability of each partition that one unit's draws alone make."""
    units, tasks, copies = logits.shape
    chosen = logits.softmax(2)
    joint = chosen.new_ones(units, 1)
    for task in range(tasks):  # (units, copies ** tasks), the last task's copy the fastest
        joint = (joint[:, :, None] * chosen[:, task, None]).flatten(1)
    index = send(_partition_of_draw(tasks, copies), logits.device)
    return chosen.new_zeros(units, len(partitions(tasks))).index_add(1, index, joint)


def _refined(before: Tensor, drawn: Tensor, tasks: int) -> Tensor:
    """P_l from P_{l-1} and the draws of unit l."""
    index = send(_refinements(tasks), before.device)
    return torch.zeros_like(before).index_add(0, index.flatten(), (before[:, None] * drawn).flatten())


def _as_published(before: Tensor, drawn: Tensor, tasks: int) -> Tensor:
    """The recursion of the public code: P_l(p) = P(p | logits[l]) sum over p' that p refines of P_{l-1}(p'), and every
    task alone with what remains. It over-estimates the branches of three and more tasks, because a draw that is coarser
    than what is already parted counts as a parting of all.
    """
    index = send(_refinements(tasks), before.device)
    finer = (index == torch.arange(len(index), device=before.device)).to(before.dtype)  # (p', p): p' ^ p = p
    kept = drawn * (before @ finer)
    alone = partitions(tasks).index(tuple(range(tasks)))
    mask = torch.ones_like(kept)
    mask[alone] = 0
    kept = kept * mask
    return kept + (1 - mask) * (1 - kept.sum())


RULES = {"exact": _refined, "bmtas_code": _as_published}


def _sampled_branches(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """(units,): the mean over draws; a task counts as a branch where it is together with none before it."""
    tasks = logits.shape[1]
    uniform = torch.rand(SAMPLES, *logits.shape, generator=generator, dtype=logits.dtype).clamp(1e-10, 1 - 1e-7)
    soft = (logits - send((-uniform.log()).log(), logits.device)).softmax(3)
    hard = torch.zeros_like(soft).scatter(3, soft.argmax(3, keepdim=True), 1.0) + soft - soft.detach()
    together = torch.einsum("nltc,nluc->nltu", hard, hard).cumprod(1)
    first = [(1 - together[:, :, task, :task]).prod(2) for task in range(tasks)]
    return torch.stack(first).sum(0).mean(0)


@cache
def partitions(tasks: int) -> list[Blocks]:
    """All partitions of so many tasks, the coarsest first."""
    found: list[Blocks] = [()]
    for _ in range(tasks):
        found = [(*blocks, group) for blocks in found for group in range(max(blocks, default=-1) + 2)]
    return sorted(found, key=lambda blocks: (max(blocks), blocks))


def _numbered(labels: Sequence[object]) -> Blocks:
    """The partition of tasks with equal labels."""
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return tuple(order[label] for label in labels)


@cache
def _partition_of_draw(tasks: int, copies: int) -> Tensor:
    """For each of the copies ** tasks draws, the partition that it makes."""
    number = {blocks: i for i, blocks in enumerate(partitions(tasks))}
    return torch.tensor([number[_numbered(draw)] for draw in product(range(copies), repeat=tasks)])


@cache
def _refinements(tasks: int) -> Tensor:
    """[p, q]: the common refinement of two partitions."""
    table = partitions(tasks)
    number = {blocks: i for i, blocks in enumerate(table)}
    return torch.tensor([[number[_numbered(list(zip(p, q)))] for q in table] for p in table])
