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
    columns: dict[Pair, list[int]] = {}
    for i, (pair, _) in enumerate(posterior.candidates):
        columns.setdefault(pair, []).append(i)
    kept: list[Candidate] = []
    for own in columns.values():
        likely = [i for i in own if posterior.effects[posterior.candidates[i]].probability >= UNLIKELY]
        if likely:
            draws = posterior.draws[:, likely]
            best = draws[:, draws.mean(0).argmax()]
            close = (draws > best[:, None] - posterior.worth).double().mean(0) >= INFERIOR
            kept += [posterior.candidates[i] for i, near in zip(likely, close.tolist(), strict=True) if near]
    return kept


def remaining_probes(candidates: Iterable[Candidate], probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Those that some candidates are measured by, in their former order."""
    wanted = {probe for candidate in candidates for probe in probes_for(*candidate)}
    return tuple(probe for probe in probes if probe in wanted)


__all__ = ["contenders", "remaining_probes"]
