"""What whole networks cost, by the names of their baselines: nothing is trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from experiment.config import Config
from experiment.errors import InputError
from multitask.cost import multiply_adds, parameter_count
from multitask.data import open_dataset
from retrain.baselines import baseline
from search_spaces import SearchSpace, SpaceError
from supernet.records.costs import Cost


@dataclass(frozen=True)
class NetworkCosts:
    """exchange: of what stands in the exchange's place. elementwise: multiply-adds that biases, batch norms and ReLUs
    add, as in Table 1 of Bruggemann et al., ATRC, ICCV 2021.
    """

    name: str
    decoder: str
    exchange: Cost
    network: Cost
    elementwise: int


def network_costs(names: Sequence[str], config: Config) -> list[NetworkCosts]:
    """Of the baselines of these names, in the network of a configuration.

    Raises InputError for an unknown name, or a network that cannot be built.
    """
    return [_network_costs(name, config) for name in names]


def _network_costs(name: str, config: Config) -> NetworkCosts:
    tasks = open_dataset(config.data).tasks
    settings = replace(config.network, pretrained=False, init_from=None)  # weights cost nothing
    size = config.data.height, config.data.width
    exchange, whole, counted = Cost(), Cost(), 0
    try:
        model = baseline(name, SearchSpace.from_settings(config.space, tuple(tasks)), config.seed)
        for group in [[task] for task in tasks] if model.separate else [list(tasks)]:
            network = model.build(settings, {task: tasks[task] for task in group})
            without = model.build(settings, {task: tasks[task] for task in group})
            without.exchange = None
            total, rest = (Cost(multiply_adds(one, *size), parameter_count(one)) for one in (network, without))
            whole, exchange = whole + total, exchange + (total - rest)
            counted += multiply_adds(network, *size, elementwise=True)
    except SpaceError as error:
        raise InputError(str(error)) from error
    return NetworkCosts(name, model.settings(settings).decoder, exchange, whole, counted - whole.multiply_adds)
