"""Which trainings a race wants next: replayed from those that are finished, so that nothing else has to be kept.

Resuming, and several processes on one folder, therefore decide alike.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from experiment.config import RaceSettings
from experiment.errors import InputError
from retrain.race.rules import NONE, choose, decide, round_sizes
from retrain.race.statistics import Paired

Job = tuple[str, int]  # an arm and a seed


@dataclass
class Field:
    """What `replay` has to know of the arms.

    score: the validation score of an arm and a seed, 100 times the mean log of the primary metrics; None if it is not
    trained yet, nan if its training diverged. second: the arms that are built from the results of the first ones, once
    the first ones' first seeds are there. cost: multiply-adds of an arm. uniform: whether an arm is a uniform block.
    """

    arms: Sequence[str]
    second: Callable[[], Sequence[str]]
    score: Callable[[str, int], float | None]
    cost: Callable[[str], float]
    uniform: Callable[[str], bool]


@dataclass
class Standing:
    """jobs: the trainings that are wanted now, none at the end. left: the arms that have not ended. ended: {arm: why}.

    diverged: the arms of which a training did. least: whether an arm ended because it gains less than the margin.
    notes: what happened, round by round. chosen: the arm that the race chose on validation. best_uniform: the best
    uniform block beside no exchange. fresh: the arms that are estimated on fresh seeds.
    """

    jobs: list[Job] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    diverged: list[str] = field(default_factory=list)
    least: bool = False
    notes: list[str] = field(default_factory=list)
    chosen: str | None = None
    best_uniform: str | None = None
    fresh: list[str] = field(default_factory=list)


def replay(field: Field, seeds: Sequence[int], fresh: Sequence[int], settings: RaceSettings) -> Standing:
    """The race as far as its trainings are finished. Raises InputError if the arm without exchange diverged."""
    standing = Standing(left=list(field.arms))
    arms = list(field.arms)
    for number, size in enumerate(round_sizes(settings), 1):
        if _missing(field, standing, standing.left, seeds[:size]):
            return standing
        if number == 1:
            second = list(field.second())
            arms += second
            standing.left += second
            if _missing(field, standing, second, seeds[:size]):
                return standing
        _end_diverged(field, standing, seeds[:size])
        over = _decide(field, standing, arms, seeds[:size], number, settings)
        if over:
            break
    scores = _scores(field, arms, seeds)
    if len(scores) == 1:  # all others diverged
        standing.chosen = NONE
        return standing
    standing.chosen = choose(scores, standing.left, field.cost, settings)
    effects = Paired(scores).effects
    uniforms = [arm for arm in arms if arm in effects and field.uniform(arm) and arm != NONE]
    standing.best_uniform = max(uniforms, key=lambda arm: effects[arm], default=None)
    standing.notes.append(f"chosen on validation: {standing.chosen}")
    if standing.chosen != NONE and len(arms) > 2:  # one arm beside the reference is no choice of the best of several
        again = (NONE, standing.chosen, standing.best_uniform)
        standing.fresh = list(dict.fromkeys(arm for arm in again if arm is not None))
        _missing(field, standing, standing.fresh, fresh)
    return standing


def _missing(field: Field, standing: Standing, arms: Sequence[str], seeds: Sequence[int]) -> bool:
    """Notes the trainings that are missing, seed by seed; whether there are any."""
    standing.jobs = [(arm, seed) for seed in seeds for arm in arms if field.score(arm, seed) is None]
    return bool(standing.jobs)


def _scores(field: Field, arms: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[int, float]]:
    """Of the arms that never diverged."""
    found: dict[str, dict[int, float]] = {}
    for arm in arms:
        of_arm = {seed: score for seed in seeds if (score := field.score(arm, seed)) is not None}
        if not any(map(math.isnan, of_arm.values())):
            found[arm] = of_arm
    return found


def _end_diverged(field: Field, standing: Standing, seeds: Sequence[int]) -> None:
    for arm in list(standing.left):
        lost = [seed for seed in seeds if math.isnan(field.score(arm, seed) or 0.0)]
        if lost and arm == NONE:
            raise InputError(
                f"the network without exchange diverged with seed {lost[0]}: expected one to compare with; "
                "try a lower training.learning_rate"
            )
        if lost:
            standing.left.remove(arm)
            standing.diverged.append(arm)
            standing.ended[arm] = f"diverged with seed {lost[0]}"
            standing.notes.append(f"{arm} ended: {standing.ended[arm]}")


def _decide(
    field: Field, standing: Standing, arms: Sequence[str], seeds: Sequence[int], number: int, settings: RaceSettings
) -> bool:
    """Ends arms after a round; whether the race is over."""
    if len(standing.left) == 1:
        return True
    decision = decide(_scores(field, arms, seeds), standing.left, settings, alone=len(arms) == 2)
    ended = {arm: f"gains less than {settings.margin:g} over {NONE}" for arm in decision.least}
    ended |= {arm: f"worse than {decision.leader}" for arm in decision.worse}
    standing.least |= bool(decision.least)
    standing.ended |= {arm: f"{why}, after {len(seeds)} seeds" for arm, why in ended.items()}
    standing.left = [arm for arm in standing.left if arm not in ended]
    lines = [f"round {number}, {len(seeds)} seeds each: {decision.leader} leads"]
    lines += [f"  {arm} ended: {why}" for arm, why in ended.items()]
    lines.append(f"  {len(standing.left)} left: {', '.join(standing.left)}")
    standing.notes.append("\n".join(lines))
    return decision.over
