"""The search strategies by name."""

from collections.abc import Callable

from experiment.config import Config
from experiment.errors import InputError, unknown
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
    return GumbelSearch(supernet, config.selection, config.search, config.training.iterations, budget)


def bilevel(config: Config, supernet: Supernet, _: Budget | None) -> Strategy:
    search = config.search
    return BilevelSearch(supernet, search.strategy, config.selection, search, config.training.iterations)


def sampled(config: Config, supernet: Supernet, _: Budget | None) -> Strategy:
    return SampledSearch(supernet, config.search.strategy, config.search, config.training.iterations)


STRATEGIES: dict[str, Callable[[Config, Supernet, Budget | None], Strategy]] = {
    "evidence": evidence,
    "gumbel": gumbel,
    "darts": bilevel,
    "gdas": bilevel,
    "random": sampled,
    "evolution": sampled,
    "tpe": sampled,
}
BUDGETED = ("evidence", "gumbel")  # keep a budget
MIXING = ("evidence", "darts")  # compute all candidates at every step


def build_strategy(config: Config, supernet: Supernet, budget: Budget | None = None) -> Strategy:
    return STRATEGIES[config.search.strategy](config, supernet, budget)


def check_strategy(config: Config) -> None:
    """Raises InputError for a strategy that there is not, that lacks its library, or that its settings contradict."""
    search = config.search
    name = search.strategy
    if name not in STRATEGIES:
        raise unknown("search.strategy", name, STRATEGIES)
    if name in MIXING and search.sampling != "mixture":
        raise InputError(f"search.sampling is {search.sampling}: expected mixture where the strategy is {name}")
    if search.budget is not None and name not in BUDGETED:
        raise InputError(
            f"search.budget is {search.budget:g}: expected null where the strategy is {name}, which has none"
        )
    if STRATEGIES[name] is not sampled:
        return
    if search.noise_null:
        raise InputError(f"search.noise_null is true: expected false where the strategy is {name}, which has no null")
    if search.samples < 1:
        raise InputError(f"search.samples is {search.samples}: expected at least 1")
    try:
        import supernet.strategies.nni_samplers  # noqa: F401
    except ImportError as error:
        found = f"search.strategy is {name}, which needs nni ({error})"
        raise InputError(f"{found}: expected after pip install 'nni>=3.0'; the other strategies do without") from error
