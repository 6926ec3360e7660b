"""When an arm ends, when the race is over, and which arm it then chooses. All on validation scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiment.config import RaceSettings
from retrain.race.statistics import Paired, Scores, simultaneous

NONE = "none"  # the arm without exchange, to which gains refer
# a race of one arm against it has no fresh seeds: the interval on the test split is of the seeds that end it, which
# therefore takes a smaller probability of an error, by this factor
ALONE = 4


@dataclass(frozen=True)
class Decision:
    """worse: the arms that are surely worse than the leader. least: those that surely gain less than the margin. over:
    one arm is left beside no exchange and surely gains, or those that are left are too alike to be distinguished.
    """

    leader: str
    least: list[str]
    worse: list[str]
    over: bool


def round_sizes(settings: RaceSettings) -> list[int]:
    """Seeds of an arm at the end of each round: half as many again each time (2, 3, 5, 8, ...)."""
    sizes = [settings.first_seeds]
    while sizes[-1] < settings.seeds:
        sizes.append(min(settings.seeds, -(-3 * sizes[-1] // 2)))
    return sizes


def decide(scores: Scores, alive: Sequence[str], settings: RaceSettings, alone: bool = False) -> Decision:
    """After a round: who of the arms that are left ends. alone: whether one arm and no exchange are all that took part.

    scores: of all arms, those that ended included, whose noise counts; those of `alive` have the same seeds. An arm
    ends if it surely gains less than the margin over no exchange, or if it is surely worse than the leader of those
    that are then left, the arm of the highest mean. No exchange itself never ends: all gains refer to it.
    """
    paired = Paired(scores)
    others = [arm for arm in alive if arm != NONE]
    confidence = simultaneous(settings.confidence, len(others))
    least = [arm for arm in others if paired.difference(arm, NONE).upper(confidence) < settings.margin]
    left = [arm for arm in alive if arm not in least]
    leader = max(left, key=lambda arm: paired.effects[arm])
    behind = [arm for arm in left if arm not in (leader, NONE)]
    worse = [arm for arm in behind if paired.difference(arm, leader).upper(confidence) < 0]
    left = [arm for arm in left if arm not in worse]
    return Decision(leader, least, worse, _settled(paired, left, ALONE if alone else 1, settings))


def _settled(paired: Paired, left: Sequence[str], factor: int, settings: RaceSettings) -> bool:
    """Whether one arm surely gains over no exchange and is the only one left beside it, or no two arms that are left
    surely differ by more than the margin.

    factor: by which the probability of an error is to be smaller in the first case.
    """
    confidence = settings.confidence
    stricter = simultaneous(confidence, factor)
    if len(left) == 2 and paired.difference(NONE, left[left[0] == NONE]).upper(stricter) < 0:
        return True
    best, worst = (extreme(left, key=lambda arm: paired.effects[arm]) for extreme in (max, min))
    confidence = simultaneous(confidence, len(left) * (len(left) - 1) // 2)
    return best == worst or paired.difference(best, worst).upper(confidence) <= settings.margin


def choose(scores: Scores, left: Sequence[str], cost: Callable[[str], float], settings: RaceSettings) -> str:
    """The cheapest of the arms whose mean is within the margin of the best one's."""
    effects = Paired(scores).effects
    best = max(effects[arm] for arm in left)
    return min((arm for arm in left if effects[arm] >= best - settings.margin), key=cost)
