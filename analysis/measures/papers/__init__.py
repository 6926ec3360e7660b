"""What the networks of published tables cost, beside the published figures.

Counted on the meta device at the papers' sizes: nothing is trained and no data is read. One file a group of tables; to
add one, a function that yields rows, and a call in `rows`.
"""

from analysis.measures.papers.atrc import atrc_rows
from analysis.measures.papers.branching import branching_rows
from analysis.measures.papers.decoders import decoder_rows
from analysis.measures.papers.row import Row


def rows() -> list[Row]:
    """All rows, paper by paper."""
    return [*atrc_rows(), *decoder_rows(), *branching_rows()]


__all__ = ["Row", "rows"]
