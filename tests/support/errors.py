"""Errors that a user sees: one line with what is wrong."""

from collections.abc import Callable

import pytest

from search_spaces import SpaceError


def fails(call: Callable[[], object], *expected: str, kind: type[Exception] = SpaceError) -> str:
    """The call raises this kind of error; its message, which it returns, is one line that holds each expected part."""
    with pytest.raises(kind) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    for part in expected:
        assert part in message, message
    return message
