"""The search strategies, one a file.

A strategy of one's own comes in by its import path, `search.strategy: my_package.my_module:Class`: a subclass of
`Strategy` (base.py documents its life), built with `search.options` as keyword arguments.

To add a built-in one: a file with a subclass, its settings as a group in experiment/config/search.py under the same
name, and a line in `STRATEGIES`. `supernet.testing.check_strategy` runs a short search and checks what every strategy
must hold.

These choose blocks for pairs of tasks; what `search.strategy: branching` does stands in supernet/branching.
"""

from experiment.config import SearchSettings
from multitask.plugins import build, import_class
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


def strategy_class(name: str) -> type[Strategy]:
    """The class behind a name in STRATEGIES or an import path. Raises InputError if there is none."""
    return import_class("search.strategy", name, Strategy) if ":" in name else STRATEGIES[name]


def build_strategy(settings: SearchSettings) -> Strategy:
    """Raises InputError for a strategy of one's own that cannot be built."""
    return build("search.strategy", settings.strategy, strategy_class(settings.strategy), settings.options)


__all__ = ["STRATEGIES", "Strategy", "build_strategy", "strategy_class"]
