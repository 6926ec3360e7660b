"""How a pair of tasks is written in files and tables: `target <- source`."""

Pair = tuple[str, str]  # (target, source)
ARROW = " <- "


def pair_name(pair: Pair) -> str:
    return ARROW.join(pair)


def parse_pair(name: str) -> Pair | None:
    """The pair of a column's name; None for a name that is not a pair's."""
    target, arrow, source = name.partition(ARROW)
    return (target, source) if arrow else None
