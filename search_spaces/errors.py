"""The error that bad input to this package raises."""

import difflib
from collections.abc import Iterable


class SpaceError(ValueError):
    """A block, space, architecture or input that cannot be used. The message is one line."""


def unknown_name(kind: str, name: object, expected: Iterable[str]) -> SpaceError:
    """The error for an unknown name: one line with the valid names and the nearest of them."""
    names = list(expected)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)
    hint = f"; nearest: '{nearest[0]}'" if nearest else ""
    return SpaceError(f"unknown {kind} '{name}': expected one of {', '.join(names)}{hint}")
