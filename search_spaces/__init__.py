"""Exchange blocks between the tasks of a network, spaces of architectures, and the module that runs them.

architecture = Architecture.load("architecture.yaml")
exchange = Exchange(architecture, channels=64)
refined = exchange(features, regions)  # {task: (B, C, H, W)} -> the same
"""

from search_spaces.architecture import Architecture
from search_spaces.blocks import BLOCKS
from search_spaces.errors import SpaceError
from search_spaces.exchange import Exchange
from search_spaces.space import SPACES, SearchSpace

__all__ = ["BLOCKS", "SPACES", "Architecture", "Exchange", "SearchSpace", "SpaceError"]
