"""samples.csv: architectures that were evaluated with the supernet's shared weights.

One row per architecture: its number, its score (higher is better), further numbers (the exchange's cost in pareto/,
each task's primary metric in a sampled search), and its block on every pair, in a column named `target <- source`.
pareto/front.csv has the same columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from supernet.records.pairs import Pair, pair_name, parse_pair
from supernet.records.rows import finite, once, read_rows, whole, write_rows

SAMPLES, FRONT = "samples.csv", "front.csv"
PARETO = "pareto"  # the folder in the run of a search with --search.pareto
COLUMNS = ("number", "score")


@dataclass(frozen=True)
class Sample:
    """An evaluated architecture. values: {column: number} beside the score."""

    number: int
    score: float
    exchanges: Mapping[Pair, str]
    values: Mapping[str, float] = field(default_factory=dict)


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """samples: one or more, all with the same values and pairs."""
    values, pairs = list(samples[0].values), list(samples[0].exchanges)
    rows = []
    for sample in samples:
        numbers = (sample.score, *(sample.values[name] for name in values))
        blocks = (sample.exchanges[pair] for pair in pairs)
        rows.append([sample.number, *(repr(float(number)) for number in numbers), *blocks])
    write_rows(path, [*COLUMNS, *values, *map(pair_name, pairs)], rows)


def read_samples(path: Path, values: Sequence[str], pairs: Sequence[Pair] | None = None) -> list[Sample]:
    """The samples, with these values. Raises InputError for a malformed file or one without these values and pairs."""

    def parse(row: Mapping[str, str]) -> Sample:
        exchanges = {pair: block for name, block in row.items() if (pair := parse_pair(name)) is not None}
        numbers = {name: _number(row[name]) for name in values if name in row}
        if len(numbers) < len(values) or (pairs is not None and list(exchanges) != list(pairs)):
            expected = [*COLUMNS, *values, *map(pair_name, pairs or ())]
            raise ValueError(f"expected the columns {', '.join(expected)}")
        return Sample(whole(row["number"]), _number(row["score"]), exchanges, numbers)

    rows = read_rows(path, COLUMNS, parse, more_columns=True)
    return list(once(path, ((sample.number, sample) for sample in rows), "number {}".format).values())


def _number(cell: str) -> float:
    """NaN is the score of an architecture whose predictions are not finite."""
    return float(cell) if cell == "nan" else finite(cell)
