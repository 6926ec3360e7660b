"""What the exchanges into each task were predicted to save of its loss, beside what retrained networks saved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.measures.runs import ModelRun
from search_spaces.scales import task_of
from supernet.records.choices import Choice
from supernet.records.pairs import Pair

WITHOUT = ("uniform:none", "none")  # names of the network without exchange; the second in a race


@dataclass(frozen=True)
class Saved:
    """In percent of a task's loss on the test split.

    receives: whether an exchange into the task was chosen. predicted, interval: by all of them together, with 95 %;
    None where no effect of theirs is known. retrained: of each seed, how far the found network's loss is below that of
    the network without exchange.
    """

    task: str
    receives: bool
    predicted: float | None
    interval: tuple[float, float] | None
    retrained: dict[int, float]


def without_exchange(models: Sequence[ModelRun]) -> ModelRun | None:
    """The network that predictions refer to, if it is among the models."""
    return next((model for model in models if model.name in WITHOUT), None)


def saved(found: ModelRun, none: ModelRun, choices: Mapping[Pair, Choice]) -> list[Saved]:
    """A row for each task whose losses both networks recorded, for at least one seed on the same images; empty without
    predictions. Losses that are not positive have no percentage.
    """
    if all(choice.effect is None for choice in choices.values()):
        return []
    others = {(seed.seed, seed.fingerprint): seed.losses for seed in none.seeds}
    rows = []
    for task in dict.fromkeys(task_of(target) for target, _ in choices):
        retrained = {}
        for seed in found.seeds:
            own, other = seed.losses.get(task), others.get((seed.seed, seed.fingerprint), {}).get(task)
            if seed.seed is not None and own is not None and other is not None and min(own, other) > 0:
                retrained[seed.seed] = 100 * (1 - own / other)
        if retrained:
            into = [choice for (target, _), choice in choices.items() if task_of(target) == task]
            receives = any(choice.block != "none" for choice in into)
            rows.append(Saved(task, receives, *together(into), dict(sorted(retrained.items()))))
    return rows


def together(choices: Sequence[Choice]) -> tuple[float | None, tuple[float, float] | None]:
    """What several exchanges save where each takes its share of what the others leave, and its 95 % interval where
    their errors are independent.
    """
    known = [(choice.effect, *choice.interval) for choice in choices if choice.effect is not None and choice.interval]
    if not known:
        return None, None
    total = 100 * (1 - math.prod(1 - effect / 100 for effect, _, _ in known))
    low = math.hypot(*(effect - low for effect, low, _ in known))
    high = math.hypot(*(high - effect for effect, _, high in known))
    return total, (total - low, total + high)
