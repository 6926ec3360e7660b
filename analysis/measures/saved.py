"""What the exchanges into each task were predicted to save of its loss, beside what retrained networks saved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.measures.runs import ModelRun
from supernet.records.choices import Choice
from supernet.records.pairs import Pair

WITHOUT = ("uniform:none", "none")  # names of the network without exchange; the second in a race


@dataclass(frozen=True)
class Saved:
    """In percent of a task's loss on the test split.

    predicted, interval: by all chosen exchanges together, with 95 %; None where the task receives none. retrained: of
    each seed, by the found network below the network without exchange.
    """

    task: str
    predicted: float | None
    interval: tuple[float, float] | None
    retrained: dict[int, float]


def without_exchange(models: Sequence[ModelRun]) -> ModelRun | None:
    """The network that predictions refer to, if it is among the models."""
    return next((model for model in models if model.name in WITHOUT), None)


def saved(found: ModelRun, none: ModelRun, choices: Mapping[Pair, Choice]) -> list[Saved]:
    """A row for each task whose losses both networks recorded, for at least one seed; empty without predictions."""
    if all(choice.effect is None for choice in choices.values()):
        return []
    others = {seed.seed: seed.losses for seed in none.seeds}
    common = [(seed.seed, seed.losses, others[seed.seed]) for seed in found.seeds if seed.seed in others]
    rows = []
    for task in dict.fromkeys(target for target, _ in choices):
        retrained = {
            number: 100 * (1 - own[task] / other[task])
            for number, own, other in common
            if number is not None and task in own and other.get(task)
        }
        if retrained:
            predicted, interval = together([choice for (target, _), choice in choices.items() if target == task])
            rows.append(Saved(task, predicted, interval, retrained))
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
