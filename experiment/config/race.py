"""race: how an architecture is compared with others by retraining."""

from dataclasses import dataclass

from experiment.config.checks import at_least, fraction, plain_values, positive
from experiment.errors import InputError


@dataclass(frozen=True)
class RaceSettings:
    """Comparison by retraining (--race of a retraining).

    Args:
        margin: gain, in points of Delta_m, that is not worth distinguishing.
        first_seeds: seeds of every arm in the first round, at least 2.
        seeds: most seeds of an arm before the winner is known; --seeds gives their numbers instead.
        confirm_seeds: fresh seeds, not used for the choice, from which the winner's gain is estimated.
        confidence: simultaneous confidence, in each round, with which an arm is worse when it ends.
        random: random architectures that take part.
        arms: those that take part beside no exchange and what was found; null for all, [] for none.
    """

    margin: float = 0.5
    first_seeds: int = 2
    seeds: int = 6
    confirm_seeds: int = 4
    confidence: float = 0.95
    random: int = 1
    arms: list[str] | None = None

    def __post_init__(self) -> None:
        plain_values("race", self)
        positive("race.margin", self.margin)
        at_least("race.first_seeds", self.first_seeds, 2)  # one seed has no spread
        at_least("race.confirm_seeds", self.confirm_seeds, 1)
        fraction("race.confidence", self.confidence)
        at_least("race.random", self.random, 0)
        if self.seeds < self.first_seeds:
            raise InputError(f"race.seeds is {self.seeds}: expected at least race.first_seeds, {self.first_seeds}")
