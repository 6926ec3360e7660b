"""Places: a task, or where tasks exchange features at several scales, a task at a scale, written task@scale.

Scale 0 is the finest of a network's scales. A pair of an exchange joins two places of one scale.
"""

from collections.abc import Sequence

from search_spaces.blocks.base import Pair
from search_spaces.errors import SpaceError

AT = "@"


def place(task: str, scale: int | None) -> str:
    return task if scale is None else f"{task}{AT}{scale}"


def task_of(name: str) -> str:
    """The task of a place."""
    return name.partition(AT)[0]


def scale_of(name: str) -> int | None:
    """The scale of a place; None where there are no scales."""
    _, at, scale = name.partition(AT)
    return int(scale) if at and scale.isdecimal() else None


def places(tasks: Sequence[str], scales: Sequence[int] = ()) -> tuple[str, ...]:
    """Scale by scale; without scales, the tasks."""
    return tuple(place(task, scale) for scale in scales or (None,) for task in tasks)


def pairs_of(tasks: Sequence[str], scales: Sequence[int] = ()) -> tuple[Pair, ...]:
    """All ordered (target, source) pairs of places, scale by scale and target by target."""
    return tuple(
        (place(target, scale), place(source, scale))
        for scale in scales or (None,)
        for target in tasks
        for source in tasks
    )


def check_scales(scales: Sequence[int]) -> tuple[int, ...]:
    """In order, from fine to coarse. Raises SpaceError unless these are different numbers from 0."""
    whole = all(isinstance(scale, int) and not isinstance(scale, bool) and scale >= 0 for scale in scales)
    if not whole or len(set(scales)) < len(scales):
        raise SpaceError(f"scales {list(scales)}: expected different whole numbers from 0, the finest")
    return tuple(sorted(scales))
