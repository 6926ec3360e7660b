"""race.json: what a race found."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiment.errors import InputError

RACE = "race.json"
VERSION = 1


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
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rest = {key: value for key, value in content.items() if key not in ("version", "arms")}
        record = RaceRecord(arms=[ArmRecord(**arm) for arm in content["arms"]], **rest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"'{path}' is damaged: expected what retrain.py --race writes") from error
    if content.get("version") != VERSION:
        raise InputError(f"'{path}' has version {content.get('version')}: expected {VERSION}")
    return record
