"""Documents with one fault each, generated from a right one."""

import copy
import math
from collections.abc import Iterator
from typing import Any

WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "nan": math.nan,
    "minus inf": -math.inf,
    "400 digits": 10**400,
    "out of range": 1e308,
    "negative": -1,
    "text": "no such thing",
    "empty text": "",
    "empty list": [],
    "list": [1],
    "empty mapping": {},
    "mapping": {"a": 1},
    "list in lists": [[[[]]]],
}
Place = tuple[Any, ...]  # the keys and indices that lead to a value
MISSING = object()


def places(content: Any) -> Iterator[Place]:
    """Where a document holds a value, itself first."""
    yield ()
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from ((key, *place) for place in places(value))


def changed(content: Any, place: Place, value: Any) -> Any:
    """A copy with another value at a place, or without it."""
    if not place:
        return value
    made = copy.deepcopy(content)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return made


def faulty(content: Any) -> Iterator[tuple[Place, str, Any]]:
    """(place, name of the fault, document): each value replaced by every wrong one, and left out."""
    for place in places(content):
        for name, value in WRONG.items():
            yield place, name, changed(content, place, value)
        if place:
            yield place, "missing", changed(content, place, MISSING)


def cuts(text: str, count: int) -> Iterator[str]:
    """Beginnings of a text, which has nothing behind its last line."""
    for k in range(count):
        yield text[: len(text.rstrip()) * k // count]
