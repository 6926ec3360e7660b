"""The blocks through which tasks exchange features, the space of their choices, and the module that runs them."""

from search_spaces.architecture import Architecture
from search_spaces.blocks import BLOCKS
from search_spaces.errors import SpaceError
from search_spaces.exchange import Exchange
from search_spaces.space import SPACES, SearchSpace

__all__ = ["BLOCKS", "SPACES", "Architecture", "Exchange", "SearchSpace", "SpaceError"]
