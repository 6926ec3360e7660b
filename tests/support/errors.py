"""Errors that a user sees: one line with what is wrong."""

from collections.abc import Callable

import pytest

from search_spaces import SpaceError


def fails(call: Callable[[], object], *expected: str) -> str:
    """The call raises SpaceError, whose message is one line that holds each expected part; returns the message."""
    with pytest.raises(SpaceError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    for part in expected:
        assert part in message, message
    return message
