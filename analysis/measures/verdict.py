"""One sentence of what a search found and what retraining says of it."""

from collections.abc import Mapping

from analysis.measures.comparison import Comparison, ModelResult
from analysis.measures.saved import WITHOUT
from search_spaces import Architecture
from supernet.records.choices import Choice
from supernet.records.pairs import Pair


def verdict(comparison: Comparison, found: ModelResult, choices: Mapping[Pair, Choice]) -> str:
    """What the found network gains over the baseline, and how many of the tasks that the search predicted to gain do.

    The interval is that of the comparison; of one seed there is none.
    """
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}"
    gain = f"{found.delta_m:+.1f} points of Delta_m"
    if found.delta_m_interval is None:
        word, sure = ("gains" if found.delta_m > 0 else "loses"), f"{seeds}: the spread is unknown"
    else:
        low, high = found.delta_m_interval
        word = "gains" if low > 0 else "loses" if high < 0 else "does not clearly differ:"
        sure = f"95 % interval {low:+.1f} to {high:+.1f}, {seeds}"
    return f"found {word} {gain} ({sure}) over {named(comparison)}{_predicted(found, choices)}"


def choice_alone(architecture: Architecture) -> str:
    """Of a search whose choice nothing has tested yet."""
    pairs = len(architecture.exchanges)
    chosen = sum(block != "none" for block in architecture.exchanges.values())
    if not chosen:
        return f"the search chose no exchange on any of {pairs} pairs"
    return f"the search chose an exchange on {chosen} of {pairs} pairs; no retraining has tested it yet"


def named(comparison: Comparison) -> str:
    name = comparison.reference.model
    return "no exchange (uniform:none)" if name in WITHOUT else name


def _predicted(found: ModelResult, choices: Mapping[Pair, Choice]) -> str:
    """Of the tasks whose loss some chosen exchange was expected to lower."""
    targets = dict.fromkeys(target for (target, _), c in choices.items() if c.effect is not None and c.effect > 0)
    known = [target for target in targets if target in found.tasks]
    if not known:
        return ""
    gained = [target for target in known if found.tasks[target].delta_m_percent_contribution > 0]
    return f"; of {len(known)} tasks predicted to gain ({', '.join(known)}), {len(gained)} did"
