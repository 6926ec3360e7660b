"""Which candidates still matter after the first fold? The second one trains probes of these alone.

A candidate is left out where it is surely not worth it, or where another block of its pair is so likely better by more
than `search.worth` that it could hardly be chosen. Its effect is then known from one fold, with a wider error.
"""

from collections.abc import Iterable

from search_spaces.blocks import Pair
from supernet.score_test.effects import Candidate, probes_for
from supernet.score_test.probes import Probe
from supernet.score_test.worth import Posterior

UNLIKELY = 0.02  # probability of being worth it below which a candidate is left out
INFERIOR = 0.1  # the same, of being not worse than the best of its pair; 1 - search.confidence would be chosen


def contenders(posterior: Posterior) -> list[Candidate]:
    """The candidates that may still be chosen."""
    likely: dict[Pair, list[Candidate]] = {}
    for candidate, effect in posterior.effects.items():
        if effect.probability >= UNLIKELY:
            likely.setdefault(candidate[0], []).append(candidate)
    kept: list[Candidate] = []
    for own in likely.values():
        best = own[int(posterior.draws_of(own).mean(0).argmax())]
        worse = posterior.worse(own, best).tolist()
        kept += [candidate for candidate, share in zip(own, worse, strict=True) if share <= 1 - INFERIOR]
    return kept


def remaining_probes(candidates: Iterable[Candidate], probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Those that some candidates are measured by, in their former order."""
    wanted = {probe for candidate in candidates for probe in probes_for(*candidate)}
    return tuple(probe for probe in probes if probe in wanted)


__all__ = ["contenders", "remaining_probes"]
