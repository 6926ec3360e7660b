"""A budget on the exchange: what an architecture costs, what a relaxed choice costs in the mean, the best that fits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces import SearchSpace
from search_spaces.blocks import Pair
from supernet.records.costs import Costs

LIMIT = 4000  # partial choices that are kept while looking for the best


class Budget:
    """limit: the most that an exchange may cost, in the unit of `costs`; positive."""

    def __init__(self, space: SearchSpace, costs: Costs, limit: float):
        self.space, self.costs, self.limit = space, costs, limit
        self.rows = torch.tensor([[costs.rows[p].get(name, 0.0) for name in space.blocks] for p in space.pairs])
        self.overheads = torch.tensor([costs.overhead(target) for target in space.places])

    def keeps(self, exchanges: Mapping[Pair, str]) -> bool:
        """Whether these pairs, and none on all others, stay within the budget."""
        return self.costs.total(exchanges) <= self.limit

    def expected(self, probabilities: Tensor) -> Tensor:
        """Mean cost of architectures whose pairs are drawn independently: (pairs, blocks) -> scalar."""
        self.rows, self.overheads = (given.to(probabilities.device) for given in (self.rows, self.overheads))
        tasks = len(self.space.tasks)
        # the probability that a target has no message; its pairs stand together
        no_message = probabilities[:, self.space.blocks.index("none")].view(-1, tasks).prod(1)
        return self.costs.base + (probabilities * self.rows).sum() + (self.overheads * (1 - no_message)).sum()

    def choose(self, values: Mapping[Pair, Mapping[str, float]]) -> dict[Pair, str]:
        """The choice of highest total value that keeps the budget; see `choose`."""
        return choose(values, self.costs, self.limit)


def choose(values: Mapping[Pair, Mapping[str, float]], costs: Costs, budget: float) -> dict[Pair, str]:
    """One block per pair so that the sum of values is highest within the budget: a multiple-choice knapsack.

    values: {pair: {block: value}}, of the blocks that the pair may have. What is best for each pair is taken if it
    fits. Otherwise all partial choices are kept that no other beats in both value and cost, which is exact; of more
    than `LIMIT` an even part is kept, always the cheapest, so that the budget is kept all the same. Raises ValueError
    if nothing fits.
    """
    best = {pair: max(blocks, key=lambda name: blocks[name]) for pair, blocks in values.items()}
    if costs.total(best) <= budget:
        return best
    targets: dict[str, list[Pair]] = {}
    for pair in values:
        targets.setdefault(pair[0], []).append(pair)
    partial = [_Partial(costs.base, 0.0)]
    for pairs in targets.values():
        without, receiving = partial, list[_Partial]()  # the target has no message so far, or at least one
        for pair in pairs:
            rows, worth = costs.rows[pair], values[pair]
            blocks = [name for name in worth if name != "none"]
            receiving = _undominated(
                [
                    *(one.adding(pair, name, rows[name], worth[name]) for name in worth for one in receiving),
                    *(
                        one.adding(pair, n, rows[n] + costs.overhead(pair[0]), worth[n])
                        for n in blocks
                        for one in without
                    ),
                ],
                budget,
            )
            without = [one.adding(pair, "none", rows["none"], worth["none"]) for one in without if "none" in worth]
        partial = _undominated([*without, *receiving], budget)
    if not partial:
        raise ValueError(f"no choice costs {budget:g} or less")
    return partial[-1].exchanges(list(values))


@dataclass(frozen=True)
class _Partial:
    """Choices for some pairs, as a chain from the last to the first."""

    cost: float
    value: float
    pair: Pair | None = None
    block: str = ""
    former: "_Partial | None" = None

    def adding(self, pair: Pair, block: str, cost: float, value: float) -> "_Partial":
        return _Partial(self.cost + cost, self.value + value, pair, block, self)

    def exchanges(self, pairs: list[Pair]) -> dict[Pair, str]:
        found = {}
        one: _Partial | None = self
        while one is not None and one.pair is not None:
            found[one.pair] = one.block
            one = one.former
        return {pair: found[pair] for pair in pairs}


def _undominated(partial: Iterable[_Partial], budget: float) -> list[_Partial]:
    """Those within the budget that are worth more than all cheaper ones, from the cheapest to the most valuable."""
    kept: list[_Partial] = []
    for one in sorted(partial, key=lambda one: (one.cost, -one.value)):
        if one.cost <= budget and (not kept or one.value > kept[-1].value):
            kept.append(one)
    if len(kept) > LIMIT:
        kept = [kept[round(i * (len(kept) - 1) / (LIMIT - 1))] for i in range(LIMIT)]
    return kept
