"""What each part of an architecture costs."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiment.config import Config
from experiment.errors import InputError
from multitask.cost import parameter_count
from multitask.data import open_dataset
from retrain.model import Model
from search_spaces import Architecture, Exchange, ScaledExchange, SearchSpace, SpaceError
from search_spaces.blocks import regions_needed
from search_spaces.scales import place
from supernet.records.costs import Cost
from supernet.records.pairs import Pair


@dataclass(frozen=True)
class Resources:
    """The pairs and the aggregator make up the exchange; with the auxiliary heads and the host, the network.

    auxiliary: {task: its auxiliary head}, needed by label blocks alone. host: encoder, decoder and heads.
    channels: C of the exchanged features; with scales, {scale: C}.
    """

    architecture: Architecture
    height: int
    width: int
    channels: int | dict[int, int]
    pairs: dict[Pair, Cost]
    aggregator: Cost
    exchange: Cost
    auxiliary: dict[str, Cost]
    host: Cost
    network: Cost

    def blocks(self) -> dict[str, tuple[int, Cost]]:
        """{block: (its pairs, their cost)}, in the order in which blocks occur."""
        sums: dict[str, tuple[int, Cost]] = {}
        for pair, cost in self.pairs.items():
            block = self.architecture.exchanges[pair]
            count, total = sums.get(block, (0, Cost()))
            sums[block] = (count + 1, total + cost)
        return sums


def resources(architecture: Architecture, config: Config) -> Resources:
    """Of an architecture inside the network of a configuration, counted on the meta device.

    Raises InputError where the two do not fit.
    """
    data = config.data
    tasks = open_dataset(data).tasks
    if set(tasks) != set(architecture.tasks):
        raise InputError(
            f"the architecture is for the tasks {list(architecture.tasks)}: the configuration has {list(tasks)}"
        )
    try:
        SearchSpace.from_settings(config.space, tuple(tasks))  # refuses a misspelt space
        sizes = replace(config.network, pretrained=False, init_from=None)  # weights cost nothing
        network = Model("", architecture).build(sizes, tasks).to("meta").eval()
    except SpaceError as error:
        raise InputError(str(error)) from error
    exchange = network.exchange
    assert isinstance(exchange, Exchange | ScaledExchange) and isinstance(network.auxiliary_heads, nn.ModuleDict)
    scaled = isinstance(exchange, ScaledExchange)
    parts: dict[int | None, Exchange] = {}
    parts.update(exchange.by_scale if isinstance(exchange, ScaledExchange) else {None: exchange})  # type: ignore[arg-type]

    inputs: dict[nn.Module, tuple[Any, ...]] = {}  # of the exchange, at each scale: features, regions, validity
    for one in parts.values():
        one.register_forward_pre_hook(lambda module, arguments: inputs.update({module: arguments[:3]}))
    counts = _multiply_adds(network, torch.empty(1, 3, data.height, data.width, device="meta"))

    def part(module: nn.Module, name: str) -> Cost:
        return Cost(counts.get(name, 0), parameter_count(module))

    auxiliary = {task: part(head, f"auxiliary_heads.{task}") for task, head in network.auxiliary_heads.items()}
    pairs, aggregator = dict[Pair, Cost](), Cost()
    for scale, one in parts.items():
        own = _pairs(one, inputs[one])
        pairs |= {(place(target, scale), place(source, scale)): cost for (target, source), cost in own.items()}
        name = f"exchange.parts.{scale}" if scaled else "exchange"
        aggregator += part(one.aggregator, f"{name}.aggregator")
    whole, refinement = part(network, ""), part(exchange, "exchange")
    return Resources(
        architecture,
        data.height,
        data.width,
        exchange.channels,
        pairs,
        aggregator,
        refinement,
        auxiliary,
        whole - refinement - sum(auxiliary.values(), Cost()),
        whole,
    )


def _multiply_adds(module: nn.Module, *arguments: Any, **others: Any) -> dict[str, int]:
    """{submodule: multiply-adds}; the module itself is ''."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*arguments, **others)
    counts = counter.get_flop_counts()
    return {name.partition(".")[2]: sum(operations.values()) // 2 for name, operations in counts.items()}


def _pairs(exchange: Exchange, inputs: tuple[Any, ...]) -> dict[Pair, Cost]:
    """Each pair's share of the exchange.

    A pair is counted by running it without the others. What several pairs share (the prototypes of a source's
    features in one task's label regions) is divided among them evenly.
    """
    assert isinstance(exchange.plan, Architecture)
    blocks = [exchange.plan.exchanges[pair] for pair in exchange.pairs]

    def count(on: Sequence[int]) -> int:
        """Of these pairs together, the aggregator aside."""
        active = {name: [i for i in on if blocks[i] == name] for name in exchange.served}
        counts = _multiply_adds(exchange, *inputs, active=active)
        return counts.get("", 0) - counts.get("aggregator", 0)

    alone = [count([i]) if blocks[i] != "none" else 0 for i in range(len(blocks))]
    sharing: dict[Pair, list[int]] = defaultdict(list)  # (whose label regions, source): pairs that read them
    for i, (name, pair) in enumerate(zip(blocks, exchange.pairs, strict=True)):
        for owner in regions_needed(name, pair):
            sharing[owner, pair[1]].append(i)
    shares = list(alone)
    for members in sharing.values():
        saved = sum(alone[i] for i in members) - count(members)
        for k, i in enumerate(members):
            shares[i] -= (saved + k) // len(members)  # these integers sum to `saved`

    costs = {}
    with_message = sum(len(served) for served in exchange.served.values())
    for i, pair in enumerate(exchange.pairs):
        parameters = 0
        if blocks[i] != "none":
            # all pairs of a block have weights of the same shapes, and so have the norms behind all blocks
            parameters = parameter_count(exchange.block(blocks[i])) // len(exchange.served[blocks[i]])
            parameters += parameter_count(exchange.norms) // with_message
        costs[pair] = Cost(shares[i], parameters)
    return costs
