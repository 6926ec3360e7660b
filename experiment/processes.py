"""The processes of one command that torchrun starts: how many there are, and which of them writes and prints.

Only the environment is read. What the processes exchange is in multitask/processes.py, which needs torch.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from experiment.errors import InputError

NUMBERS = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")  # beside WORLD_SIZE

_alone = False
_stdout: TextIO | None = None  # of a process whose lines are dropped


def check_processes() -> None:
    """Raises InputError where the environment names several processes, and not as torchrun does."""
    text = os.environ.get("WORLD_SIZE", "1")
    if text == "1":
        return
    wrong = [name for name in NUMBERS if not os.environ.get(name, "").isdigit()]
    if wrong or not os.environ.get("MASTER_ADDR") or not rank() < count():
        found = "".join(f", {name} is {os.environ.get(name, 'not set')}" for name in wrong[:1])
        raise InputError(f"WORLD_SIZE is {text}{found}: expected a command that torchrun starts, or a single process")


def refuse_several_processes(command: str) -> None:
    """Raises InputError where a launcher starts a command that knows a single process only."""
    text = os.environ.get("WORLD_SIZE", "1")
    if text != "1":
        raise InputError(f"WORLD_SIZE is {text}: {command} expects a single process, started without torchrun")


def count() -> int:
    """How many processes run this command."""
    return max(1, _number("WORLD_SIZE", 1))


def rank() -> int:
    """The number of this process, from 0."""
    return _number("RANK", 0) if count() > 1 else 0


def works_alone() -> bool:
    """Whether this process shares no work with others; see `working_alone`."""
    return _alone or count() == 1


def leads() -> bool:
    """Whether this process writes and prints: the first, or one that works alone."""
    return rank() == 0 or _alone


@contextmanager
def silent_unless_first() -> Iterator[None]:
    """While open, what other processes than the first print goes nowhere."""
    global _stdout
    if rank() == 0:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        _stdout, sys.stdout = sys.stdout, nothing
        try:
            yield
        finally:
            sys.stdout, _stdout = _stdout, None


@contextmanager
def working_alone() -> Iterator[None]:
    """While open, this process works on something of its own, such as one trial of many: it writes and prints."""
    global _alone
    former, stdout = _alone, sys.stdout
    _alone, sys.stdout = True, _stdout or stdout
    try:
        yield
    finally:
        _alone, sys.stdout = former, stdout


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
