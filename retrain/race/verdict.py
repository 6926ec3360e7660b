"""What a race says at its end: one sentence and a row for each arm. All on the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrain.race.record import ArmRecord
from retrain.race.rules import NONE
from retrain.race.schedule import Standing
from retrain.race.statistics import Difference, Paired, Scores, simultaneous

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ended:
    """A race at its end. scores: {arm: {seed: test score}}, 100 times the mean log of the primary metrics, of all
    trainings that did not diverge. fresh: the seeds that had no part in the choice. costs: {arm: multiply-adds}.
    """

    standing: Standing
    scores: Scores
    fresh: Sequence[int]
    costs: Mapping[str, float]
    margin: float

    def difference(self, arm: str, other: str = NONE) -> Difference | None:
        """On fresh seeds alone where the arm was chosen by the others; None where a training that it needs diverged."""
        if arm not in self.scores or len(self.scores) < 2:
            return None
        seeds = self.fresh if self.is_fresh(arm) else [s for s in self.scores[arm] if s not in self.fresh]
        paired = Paired(self.scores)
        return paired.difference(arm, other, seeds) if set(paired.common(arm, other)) & set(seeds) else None

    def is_fresh(self, arm: str) -> bool:
        return arm in self.standing.fresh

    @property
    def noise(self) -> tuple[float, int]:
        """Standard deviation of a score over seeds beyond what the arms share, and its degrees of freedom."""
        if len(self.scores) < 2:
            return 0.0, 0
        paired = Paired(self.scores)
        return paired.deviation, paired.freedom

    @property
    def chosen(self) -> str:
        return self.standing.chosen or NONE

    @property
    def winner(self) -> str:
        """The chosen arm if it surely gains, else no exchange."""
        gain = None if self.chosen == NONE else self.difference(self.chosen)
        return self.chosen if gain is not None and gain.interval(CONFIDENCE)[0] > 0 else NONE


def sentence(race: Ended) -> str:
    """What the winner gains and at which cost, or that nothing gains more than so much."""
    gain = None if race.chosen == NONE else race.difference(race.chosen)
    if race.winner == NONE or gain is None:
        return _nothing(race, gain)
    text = f"{race.winner} gains {_points(gain)} points of Delta_m over no exchange"
    best = race.standing.best_uniform
    over = None if best in (None, race.winner) else race.difference(race.winner, str(best))
    if over is not None:
        text += f" and {_points(over)} over {best}, the best uniform block"
    elif best == race.winner:
        text += ", and is the best uniform block"
    text += f", at {large(race.costs[race.winner])} multiply-adds (no exchange: {large(race.costs[NONE])})"
    return f"{text}; 95 % intervals on the test split, {_seeds(race, gain)}"


def _nothing(race: Ended, gain: Difference | None) -> str:
    if len(race.scores) < 2:
        return "all trainings but those without exchange diverged: nothing is known of a gain"
    left = [arm for arm in race.standing.left if arm != NONE]
    most = [race.margin] if race.standing.least or not left else []
    if left:
        paired, confidence = Paired(race.scores), simultaneous(CONFIDENCE, len(left))
        # an arm that ended as worse than one of these gains less than it
        most += [max(0.0, paired.difference(arm, NONE).upper(confidence)) for arm in left if paired.common(arm, NONE)]
    text = f"nothing gains more than {max(most, default=race.margin):.2f} points of Delta_m over no exchange (95 %)"
    if gain is not None:
        text += f"; the best on validation, {race.chosen}, gains {_points(gain)} on {_seeds(race, gain)}"
    return text


def _points(difference: Difference) -> str:
    low, high = difference.interval(CONFIDENCE)
    return f"{difference.mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _seeds(race: Ended, difference: Difference) -> str:
    kind = "fresh " if race.standing.fresh else ""
    return f"{difference.seeds} {kind}seed{'s' if difference.seeds > 1 else ''}"


def large(number: float) -> str:
    """A count with three digits."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def records(race: Ended, aliases: Mapping[str, list[str]]) -> list[ArmRecord]:
    """A row for each arm; aliases: {arm: its other names}, of all arms."""
    rows = []
    for arm, others in aliases.items():
        difference = race.difference(arm) if arm != NONE else None
        low, high = difference.interval(CONFIDENCE) if difference is not None else (None, None)
        mean = difference.mean if difference is not None else None
        if arm == NONE:
            mean = low = high = 0.0
        seeds = difference.seeds if difference is not None else len(race.scores.get(arm, ()))
        fresh = arm != NONE and race.is_fresh(arm)
        rows.append(ArmRecord(arm, others, seeds, fresh, mean, low, high, race.costs.get(arm), _end(race, arm)))
    return rows


def _end(race: Ended, arm: str) -> str:
    if arm == race.winner:
        return "winner"
    if arm == NONE:
        return "the reference"
    if arm in race.standing.ended:
        return race.standing.ended[arm]
    if arm == race.chosen:
        return "chosen, but no sure gain" + (" on fresh seeds" if race.is_fresh(arm) else "")
    return f"not distinguished from {race.chosen}"


def remarks(race: Ended, warnings: Sequence[str]) -> list[str]:
    """What to know beside the sentence."""
    lines = list(warnings)
    for arm in race.scores:
        if arm.startswith("own:"):
            gain = race.difference(arm)
            if gain is not None:
                lines.append(f"{arm}, whose blocks read no other task, gains {_points(gain)}: a control of capacity")
    return lines


def table(rows: Sequence[ArmRecord]) -> str:
    """As text, with a column for each number."""
    cells = [("arm", "seeds", "Delta_m", "95 % interval", "multiply-adds", "ended"), *map(row_cells, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        parts = [cell.ljust(w) if i in (0, 5) else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def row_cells(row: ArmRecord) -> tuple[str, ...]:
    """name, seeds, Delta_m, interval, multiply-adds, ended."""
    name = " = ".join([row.name, *row.aliases])
    seeds = f"{row.seeds}{' fresh' if row.fresh else ''}"
    cost = "" if row.multiply_adds is None else large(row.multiply_adds)
    if row.delta_m is None:
        return name, seeds, "", "", cost, row.ended
    interval = "" if row.name == NONE else f"{row.low:+.2f} to {row.high:+.2f}"
    return name, seeds, f"{row.delta_m:+.2f}", interval, cost, row.ended
