"""Exchange blocks between the tasks of a network, spaces of architectures, and the module that runs them.

architecture = Architecture.load("architecture.yaml")
exchange = Exchange(architecture, channels=64)
refined = exchange(features, regions)  # {task: (B, C, H, W)} -> the same

An architecture with several scales takes `build_exchange(architecture, {scale: channels})`, which is called with
{scale: {task: (B, C, h, w)}}.
"""

from search_spaces.architecture import Architecture
from search_spaces.blocks import BLOCKS
from search_spaces.errors import SpaceError
from search_spaces.exchange import Exchange
from search_spaces.scaled_exchange import ScaledExchange, build_exchange
from search_spaces.space import SPACES, SearchSpace

__all__ = [
    "BLOCKS",
    "SPACES",
    "Architecture",
    "Exchange",
    "ScaledExchange",
    "SearchSpace",
    "SpaceError",
    "build_exchange",
]
