"""Checks that the groups of the configuration share. Each raises InputError: the key, its value, what is expected."""

import math
from collections.abc import Iterable

from experiment.errors import InputError, unknown


def one_of(key: str, value: object, names: Iterable[str]) -> None:
    names = tuple(names)
    if value not in names:
        raise unknown(key, value, names)


def at_least(key: str, value: float | None, least: float) -> None:
    """None passes: it stands for a default that is worked out later."""
    if value is not None and not least <= value < math.inf:
        raise InputError(f"{key} is {value}: expected at least {least}")


def positive(key: str, value: float | None) -> None:
    """None passes, as above."""
    if value is not None and not 0 < value < math.inf:
        raise InputError(f"{key} is {value}: expected a positive number")


def fraction(key: str, value: float) -> None:
    """Strictly between 0 and 1."""
    if not 0 < value < 1:
        raise InputError(f"{key} is {value}: expected a number between 0 and 1")


def finite(key: str, value: float) -> None:
    if not math.isfinite(value):
        raise InputError(f"{key} is {value}: expected a finite number")
