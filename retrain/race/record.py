"""race.json: what a race found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from experiment.documents import parse_json
from experiment.errors import InputError

RACE = "race.json"
VERSION = 1
LARGEST = 1e30  # of a number


@dataclass(frozen=True)
class ArmRecord:
    """delta_m: gain over no exchange in points, on the test split, paired, over `seeds` seeds; low and high: its 95 %
    interval. fresh: whether these seeds had no part in the choice. None where the arm diverged.
    """

    name: str
    aliases: list[str]
    seeds: int
    fresh: bool
    delta_m: float | None
    low: float | None
    high: float | None
    multiply_adds: float | None
    ended: str


@dataclass(frozen=True)
class RaceRecord:
    """seconds: of all trainings together; retrainings: the same in trainings of the found architecture, None if that
    diverged. deviation: standard deviation of a score over seeds on the test split, beyond what the arms of a seed
    share, in points; freedom: its degrees of freedom.
    """

    verdict: str
    winner: str
    search: str
    arms: list[ArmRecord]
    trainings: int
    seconds: float
    retrainings: float | None
    deviation: float
    freedom: int
    remarks: list[str] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}


def read_race(folder: str | Path) -> RaceRecord:
    """Raises InputError where there is no finished race."""
    path = Path(folder) / RACE
    if not path.is_file():
        raise InputError(f"'{folder}' is no finished race: expected {RACE} in it")
    try:
        content: Mapping[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        rest = {key: value for key, value in content.items() if key not in ("version", "arms")}
        record = RaceRecord(arms=[ArmRecord(**arm) for arm in content["arms"]], **rest)
        _check_kinds(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"'{path}' is damaged: expected what a race writes") from error
    if content.get("version") != VERSION:
        raise InputError(f"'{path}' has version {content.get('version')}: expected {VERSION}")
    return record


def _check_kinds(record: ArmRecord | RaceRecord) -> None:
    """Raises TypeError or ValueError for a value of another kind than its field's, and for NaN and infinity."""
    for name, hint in get_type_hints(type(record)).items():
        value, kinds = getattr(record, name), get_args(hint) or (hint,)
        if get_origin(hint) is list:
            right = isinstance(value, list) and all(isinstance(one, kinds) for one in value)
        else:
            right = isinstance(value, kinds) or (float in kinds and type(value) is int)
        if not right:
            raise TypeError(f"{name} is {value!r}")
        if isinstance(value, int | float) and not abs(value) <= LARGEST:
            raise ValueError(f"{name} is {value}")
    for arm in getattr(record, "arms", ()):
        _check_kinds(arm)
