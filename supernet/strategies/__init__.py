"""The search strategies, one a file.

To add one: a file with a subclass of `Strategy` (base.py documents its life), its settings as a group in
experiment/config/search.py under the same name, and a line in `STRATEGIES`. `supernet.testing.check_strategy` runs a
short search and checks what every strategy must hold.
"""

from supernet.strategies.base import Strategy
from supernet.strategies.bilevel import Darts, Gdas
from supernet.strategies.evidence import EvidenceSearch
from supernet.strategies.guided import Guided
from supernet.strategies.gumbel import Gumbel
from supernet.strategies.sampled import EvolutionSearch, RandomSearch, TpeSearch
from supernet.strategies.score import Score

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind
    for kind in (Score, Guided, EvidenceSearch, Gumbel, Darts, Gdas, RandomSearch, EvolutionSearch, TpeSearch)
}

__all__ = ["STRATEGIES", "Strategy"]
