"""What each block costs on each pair: multiply-adds, parameters and measured latency, of one image.

The base is the aggregator with `none` on every pair. A pair's row covers the block, the norm behind it and its part of
the aggregator. The fixed overhead of a target with incoming messages is the aggregator's. The sum equals the exchange's
cost as `python -m analysis resources` counts it, or is a little above: prototypes that several pairs share count for
each. Auxiliary heads are left out, as they are there.
"""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from multitask.cost import operations, parameter_count
from search_spaces import Architecture, Exchange, SearchSpace
from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import Pair, regions_needed
from search_spaces.scaled_exchange import Channels
from search_spaces.scales import place
from supernet.records.costs import Cost, CostTable

ROUNDS, PATIENCE = 15, 10.0  # of the latency: forward passes of each block, and seconds after which fewer must do


Size = tuple[int, int] | Mapping[int, tuple[int, int]]  # (h, w) of the features, or {scale: (h, w)}
Kind = tuple[object, ...]  # what pairs and blocks of the same cost have in common


def cost_table(
    space: SearchSpace, channels: Channels, size: Size, regions: Mapping[str, int], device: torch.device | None = None
) -> CostTable:
    """Of exchanges over features (channels, *size), with scales {scale: channels} and {scale: size}, and the number of
    label regions of each task.

    device: where latency is measured, if at all: batch 1, fp32, the median over rounds in which all take turns; blocks
    that differ only in their tasks' names are measured once. Pairs that run as one batch can be faster than the sum.
    """
    if not isinstance(channels, int):
        assert not isinstance(size, tuple)
        return _joined({s: cost_table(space.at(s), channels[s], size[s], regions, device) for s in space.scales})
    assert isinstance(size, tuple)
    area, width = size, channels
    none = {pair: "none" for pair in space.pairs}

    def exchange(pair: Pair | None = None, block: str = "none") -> Exchange:
        exchanges = none if pair is None else {**none, pair: block}
        return Exchange(Architecture.from_space(space, exchanges), width).eval()

    def inputs(module: Exchange, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        features = {task: torch.zeros(1, width, *area, device=device) for task in module.tasks}
        return features, {t: torch.zeros(1, regions[t], *area, device=device) for t in module.region_tasks()}

    def kind(pair: Pair, block: str) -> Kind:
        return block, pair[0] == pair[1], *(regions[task] for task in regions_needed(block, pair))

    def count(module: Exchange) -> Cost:
        """Of all but the aggregator."""
        parameters = parameter_count(module.blocks) + parameter_count(module.norms)
        module = module.to("meta")
        return Cost(operations(module.messages, *inputs(module, "meta")), parameters)

    kinds = {kind(pair, name): (pair, name) for pair in space.pairs for name in space.legal(pair) if name != "none"}
    base, overhead, message = _aggregator(space, channels, size)
    found = {key: count(exchange(*where)) for key, where in kinds.items()}
    seconds: dict[Kind | None, float] = {None: 0.0, **dict.fromkeys(kinds, 0.0)}
    if device is not None:
        modules: dict[Kind | None, Exchange] = {key: exchange(*where).to(device) for key, where in kinds.items()}
        modules[None] = exchange().to(device)
        seconds = _latencies(modules, lambda module: inputs(module, device), device)

    def row(pair: Pair, name: str) -> Cost:
        if name == "none":
            return Cost()
        key = kind(pair, name)
        return Cost(
            found[key].multiply_adds + message.multiply_adds,
            found[key].parameters + message.parameters,
            max(0.0, seconds[key] - seconds[None]),
        )

    rows = {pair: {name: row(pair, name) for name in space.legal(pair)} for pair in space.pairs}
    base = Cost(base.multiply_adds, base.parameters, seconds[None])
    return CostTable(base, dict.fromkeys(space.tasks, overhead), rows)


def _joined(tables: Mapping[int, CostTable]) -> CostTable:
    """The table of several scales, {scale: its own}."""
    base, overheads, rows = Cost(), dict[str, Cost](), dict[Pair, Mapping[str, Cost]]()
    for scale, table in tables.items():
        base += table.base
        overheads |= {place(task, scale): cost for task, cost in table.overheads.items()}
        rows |= {(place(t, scale), place(s, scale)): row for (t, s), row in table.rows.items()}
    return CostTable(base, overheads, rows)


def block_costs(space: SearchSpace, channels: Channels, size: Size) -> dict[str, float]:
    """Multiply-adds of each block on the first pair on which it is legal, if all tasks had 40 label regions."""
    table = cost_table(space, channels, size, dict.fromkeys(space.tasks, 40))
    found: dict[str, float] = {}
    for row in table.rows.values():
        for name, cost in row.items():
            found.setdefault(name, cost.multiply_adds)
    return found


def _aggregator(space: SearchSpace, channels: int, size: tuple[int, int]) -> tuple[Cost, Cost, Cost]:
    """The cost without messages; the overhead of each target with incoming messages; the cost of each message."""
    kind = AGGREGATORS[space.aggregator]
    message = torch.zeros(1, kind.message_channels(channels), *size, device="meta")
    counts = []
    for number in range(3):
        module = kind({"target": tuple(map(str, range(number)))}, channels).eval().to("meta")
        features = {"target": torch.zeros(1, channels, *size, device="meta")}
        multiply_adds = operations(module, features, {"target": [message] * number})
        counts.append((multiply_adds, parameter_count(module)))
    (m0, p0), (m1, p1), (m2, p2) = counts
    tasks = len(space.tasks)
    return Cost(tasks * m0, tasks * p0), Cost(2 * m1 - m0 - m2, 2 * p1 - p0 - p2), Cost(m2 - m1, p2 - p1)


def _latencies(
    modules: Mapping[Kind | None, Exchange],
    inputs: Callable[[Exchange], tuple[dict[str, Tensor], dict[str, Tensor]]],
    device: torch.device,
) -> dict[Kind | None, float]:
    """Median seconds of a forward pass of each module, after one that does not count."""
    began = time.monotonic()
    seconds: dict[Kind | None, list[float]] = {key: [] for key in modules}
    with torch.no_grad():
        for turn in range(ROUNDS + 1):
            for key, module in modules.items():
                given = inputs(module)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                start = time.perf_counter()
                module(*given)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if turn:
                    seconds[key].append(time.perf_counter() - start)
            if turn and time.monotonic() - began > PATIENCE:
                break
    return {key: statistics.median(times) for key, times in seconds.items()}
