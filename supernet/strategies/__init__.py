"""The search strategies by name."""

from collections.abc import Callable

from experiment.config import Config
from experiment.errors import InputError
from supernet.cost.budget import Budget
from supernet.strategies.base import Strategy
from supernet.strategies.bilevel import BilevelSearch
from supernet.strategies.evidence import EvidenceSearch
from supernet.strategies.gumbel import GumbelSearch
from supernet.strategies.sampled import SampledSearch
from supernet.supernet import Supernet


def evidence(config: Config, supernet: Supernet, budget: Budget | None) -> Strategy:
    return EvidenceSearch(supernet, config.search, config.training.iterations, budget)


def gumbel(config: Config, supernet: Supernet, budget: Budget | None) -> Strategy:
    return GumbelSearch(supernet, config.search.gumbel, config.search, config.training.iterations, budget)


def bilevel(config: Config, supernet: Supernet, _: Budget | None) -> Strategy:
    search = config.search
    settings = search.darts if search.strategy == "darts" else search.gdas
    return BilevelSearch(supernet, search.strategy, settings, search, config.training.iterations)


def sampled(config: Config, supernet: Supernet, _: Budget | None) -> Strategy:
    search = config.search
    return SampledSearch(
        supernet, search.strategy, getattr(search, search.strategy).samples, search, config.training.iterations
    )


STRATEGIES: dict[str, Callable[[Config, Supernet, Budget | None], Strategy]] = {
    "evidence": evidence,
    "gumbel": gumbel,
    "darts": bilevel,
    "gdas": bilevel,
    "random": sampled,
    "evolution": sampled,
    "tpe": sampled,
}


def build_strategy(config: Config, supernet: Supernet, budget: Budget | None = None) -> Strategy:
    return STRATEGIES[config.search.strategy](config, supernet, budget)


def check_strategy(config: Config) -> None:
    """Raises InputError for a strategy that lacks its library."""
    name = config.search.strategy
    if STRATEGIES[name] is not sampled:
        return
    try:
        import supernet.strategies.nni_samplers  # noqa: F401
    except ImportError as error:
        found = f"search.strategy is {name}, which needs nni ({error})"
        raise InputError(f"{found}: expected after pip install 'nni>=3.0'; the other strategies do without") from error
