"""The one kind of error that a user of the learner can cause."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that was given cannot be used; the message is one line.

    command: what helps, to be copied; the line ends with it, and it is shown whole however long the line is.
    """

    def __init__(self, message: str, command: str = ""):
        # a data worker hands its error on inside a whole traceback, which ends with our line
        super().__init__(f"{message.rpartition('InputError: ')[2].strip()} {command}".strip())
        self.command = command


def one_line(error: Exception) -> str:
    """A library's message, however many lines it has; the kind of error where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def unknown(kind: str, found: object, expected: Iterable[str]) -> InputError:
    """An InputError with the unknown value, the valid names, and the nearest of them."""
    names = list(expected)
    near = difflib.get_close_matches(str(found), names, n=1, cutoff=0.0)
    listed = ", ".join(names)
    return InputError(
        f"unknown {kind} '{found}': expected one of {listed}" + (f"; nearest: '{near[0]}'" if near else "")
    )
