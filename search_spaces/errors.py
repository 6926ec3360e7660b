"""The one kind of error that a user of this package can cause."""

import difflib
from collections.abc import Iterable


class SpaceError(ValueError):
    """A block, space or architecture that cannot be used; the message is one line."""


def unknown_name(kind: str, found: object, expected: Iterable[str]) -> SpaceError:
    """One line: what was found, what was expected, and the nearest valid name."""
    names = list(expected)
    nearest = difflib.get_close_matches(str(found), names, n=1, cutoff=0.0)
    hint = f"; nearest: '{nearest[0]}'" if nearest else ""
    return SpaceError(f"unknown {kind} '{found}': expected one of {', '.join(names)}{hint}")
