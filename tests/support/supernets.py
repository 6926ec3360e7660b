"""The current choice of a selection, for tests."""

from benchmarks.supernets import gumbel_supernet
from search_spaces import Architecture
from supernet.selection import Selection

__all__ = ["current_choice", "gumbel_supernet"]


def current_choice(selection: Selection) -> Architecture:
    """The likeliest block of every pair."""
    names = [selection.space.blocks[i] for i in selection.choices().tolist()]
    return Architecture.from_space(selection.space, dict(zip(selection.space.pairs, names, strict=True)))
