"""Checks that the groups of the configuration share. Each raises InputError: the key, its value, what is expected."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from experiment.errors import InputError, unknown

LARGEST = 1e38  # a float32 holds it
MOST = 2**31 - 1  # of whatever is counted


def plain_values(group: str, settings: Any) -> None:
    """What holds for every key of a group: `no_nulls`; numbers are finite and no larger than any use has for them."""
    no_nulls(f"{group}.", settings)
    for item in fields(settings):
        key = f"{group}.{item.name}"
        for number in _numbers(getattr(settings, item.name)):
            largest = MOST if isinstance(number, int) else LARGEST
            if not -largest <= number <= largest:
                raise InputError(f"{key} is {number}: expected a finite number, at most {largest:g}")


def no_nulls(prefix: str, settings: Any) -> None:
    """None stands only where the key's type has it."""
    hints = get_type_hints(type(settings))
    for item in fields(settings):
        hint = hints[item.name]
        if getattr(settings, item.name) is None and NoneType not in get_args(hint):
            raise InputError(f"{prefix}{item.name} is null: expected {getattr(hint, '__name__', hint)}")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def one_of(key: str, value: object, names: Iterable[str]) -> None:
    names = tuple(names)
    if value not in names:
        raise unknown(key, value, names)


def at_least(key: str, value: float | None, least: float) -> None:
    """None passes: it stands for a default that is worked out later."""
    if value is not None and not least <= value < math.inf:
        raise InputError(f"{key} is {value}: expected at least {least}")


def within(key: str, value: float | None, least: float, most: float) -> None:
    """None passes, as above."""
    if value is not None and not least <= value <= most:
        raise InputError(f"{key} is {value}: expected {least} to {most}")


def positive(key: str, value: float | None) -> None:
    """None passes, as above."""
    if value is not None and not 0 < value < math.inf:
        raise InputError(f"{key} is {value}: expected a positive number")


def fraction(key: str, value: float) -> None:
    """Strictly between 0 and 1."""
    if not 0 < value < 1:
        raise InputError(f"{key} is {value}: expected a number between 0 and 1")
