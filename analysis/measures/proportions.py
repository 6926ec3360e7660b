"""The share of each block among the pairs of one or several architectures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.measures.searches import Search
from supernet.records.pairs import Pair, scale_of, task_of


@dataclass(frozen=True)
class Proportions:
    """How often each block serves each pair, of some architectures. `blocks`: those that occur, in palette order.

    scales: of the pairs, as text; empty where tasks exchange features at one scale.
    by_decision: {"decided" or "undecided": the count over those pairs}, where searches distinguish the two.
    """

    tasks: tuple[str, ...]
    blocks: tuple[str, ...]
    counts: Mapping[Pair, Counter[str]]
    by_decision: Mapping[str, Counter[str]] = field(default_factory=dict)

    @property
    def scales(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(scale_of(target) for target, _ in self.counts if scale_of(target)))

    def shares(
        self, target: str | None = None, source: str | None = None, scale: str | None = None
    ) -> dict[str, float]:
        """{block: share, 0 to 1} over the pairs with this target and source, tasks or places, and this scale; None
        stands for all.
        """
        return self._shares(self.count(target, source, scale))

    def shares_by_decision(self) -> dict[str, dict[str, float]]:
        return {name: self._shares(count) for name, count in self.by_decision.items()}

    def _shares(self, count: Counter[str]) -> dict[str, float]:
        return {block: count[block] / count.total() for block in self.blocks}

    def count(self, target: str | None = None, source: str | None = None, scale: str | None = None) -> Counter[str]:
        pairs = [
            pair
            for pair in self.counts
            if target in (None, pair[0], task_of(pair[0]))
            and source in (None, pair[1], task_of(pair[1]))
            and scale in (None, scale_of(pair[0]))
        ]
        return sum((self.counts[pair] for pair in pairs), Counter())


def proportions(
    tasks: Sequence[str],
    architectures: Sequence[Mapping[Pair, str]],
    order: Sequence[str],
    by_decision: Mapping[str, Counter[str]] | None = None,
) -> Proportions:
    """Counts blocks over architectures, each {pair: block}. `order`: of the known blocks; others follow by name."""
    counts = {pair: Counter(exchanges[pair] for exchanges in architectures) for pair in architectures[0]}
    blocks = {block for count in counts.values() for block in count}
    known = [block for block in order if block in blocks]
    return Proportions(tuple(tasks), (*known, *sorted(blocks - set(known))), counts, by_decision or {})


def count_by_decision(searches: Sequence[Search]) -> dict[str, Counter[str]]:
    """Of the searches that state which pairs are decided; empty if none left any undecided."""
    choices = [choice for search in searches for choice in search.choices.values()]
    if all(choice.decided for choice in choices):
        return {}
    names = {"decided": True, "undecided": False}
    counts = {n: Counter(choice.block for choice in choices if choice.decided is kind) for n, kind in names.items()}
    return {name: count for name, count in counts.items() if count}
