"""How a user calls the commands: the scripts of a checkout, or `crosstalk COMMAND` once it is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# of a checkout; the others are those of `python -m analysis`
SCRIPTS = {
    "search": "python search.py",
    "retrain": "python retrain.py",
    "predict": "python -m crosstalk predict",
    "export": "python -m crosstalk export",
}

_program: ContextVar[str | None] = ContextVar("program", default=None)


@contextmanager
def called_by(program: str) -> Iterator[None]:
    """While open, messages name commands as `PROGRAM COMMAND`."""
    token = _program.set(program)
    try:
        yield
    finally:
        _program.reset(token)


def call(command: str) -> str:
    """The words that begin a command's line, such as `python search.py` or `crosstalk search`."""
    program = _program.get()
    return SCRIPTS.get(command, f"python -m analysis {command}") if program is None else f"{program} {command}"
