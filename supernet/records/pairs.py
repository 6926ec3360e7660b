"""How a pair of tasks is written in files and tables: `target <- source`."""

from collections.abc import Iterable

from supernet.records.rows import AT

Pair = tuple[str, str]  # (target, source)
ARROW = " <- "


def has_scales(pairs: Iterable[Pair]) -> bool:
    """Whether the ends of pairs are places at scales."""
    return any(AT in target for target, _ in pairs)


def task_of(place: str) -> str:
    """The task of a place; without scales, they are the same."""
    return place.partition(AT)[0]


def scale_of(place: str) -> str:
    """The scale of a place, as text; empty without scales."""
    return place.partition(AT)[2]


def rows_by_scale(pairs: Iterable[Pair]) -> dict[str, dict[str, list[str]]]:
    """{scale: {target: its sources}}, in the order of the pairs; the scale is empty where there are none."""
    found: dict[str, dict[str, list[str]]] = {}
    for target, source in pairs:
        found.setdefault(scale_of(target), {}).setdefault(target, []).append(source)
    return found


def pair_name(pair: Pair) -> str:
    return ARROW.join(pair)


def parse_pair(name: str) -> Pair | None:
    """The pair of a column's name; None for a name that is not a pair's."""
    target, arrow, source = name.partition(ARROW)
    return (target, source) if arrow else None
