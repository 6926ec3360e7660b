"""Parameters and multiply-adds of architectures: by pair, by block, and of everything around them.

The sizes of the network come from the config.yaml beside each architecture, or from --config. Multiply-adds are those
of one image, in convolutions and matrix products. The auxiliary heads stand apart: label blocks alone need them. With
--baseline, also Delta_m against both costs of trained models (as in Fig. 5 of Bruggemann et al., Exploring Relational
Context for Multi-Task Dense Prediction, ICCV 2021), as delta_m_by_cost.png in --output. For a search run, tables also
show the costs of all candidates (costs.csv).

--networks counts whole baselines in the network of --config, trained or not. Its last column also counts biases, batch
norms and ReLUs, as Table 1 of that paper does.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.arguments import add_output_options
from analysis.measures.comparison import Comparison, compare
from analysis.measures.runs import read_architectures
from analysis.report.result import Result, Table
from experiment.config import Config
from experiment.errors import InputError
from supernet.records.costs import COSTS, MEASURES, Cost, CostTable, receiving_targets
from supernet.records.pairs import Pair, pair_name, rows_by_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.measures.costs import Resources
    from analysis.measures.networks import NetworkCosts

COLUMNS = {"multiply_adds": "multiply-adds", "parameters": "parameters", "latency": "latency, ms"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="*", help="search runs, retrain runs or architecture files")
    parser.add_argument(
        "--networks",
        metavar="NAME",
        nargs="+",
        default=[],
        help="baselines to count whole in the network of --config, such as single_task, mtan or uniform:xtam",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration, for files without a config.yaml beside them")
    parser.add_argument(
        "--baseline",
        metavar=("DIR", "MODEL_DIR"),
        nargs="+",
        help="retrain runs, the baseline (single_task) first, whose Delta_m to draw against their costs",
    )
    add_output_options(parser, "delta_m_by_cost.png")


def run(arguments: argparse.Namespace) -> Result:
    if arguments.baseline is not None and (arguments.output is None or len(arguments.baseline) < 2):
        raise InputError("--baseline draws a figure: expected one or more MODEL_DIR behind its DIR, and --output")
    comparison = None if arguments.baseline is None else compare(arguments.baseline[0], arguments.baseline[1:])
    if not arguments.runs and not arguments.networks:
        raise InputError("no RUN is given: expected search runs or architecture files, or --networks with --config")
    if arguments.networks and arguments.config is None:
        raise InputError("--networks needs the sizes of the network: expected --config FILE")
    architectures = read_architectures(arguments.runs) if arguments.runs else {}
    from analysis.measures.costs import resources  # loads torch
    from analysis.measures.networks import network_costs

    tables: list[Table] = []
    records: list[dict[str, object]] = []
    data = []
    for path, architecture in architectures.items():
        costs = resources(architecture, Config.load(_config(Path(path), arguments.config)))
        channels = costs.channels if isinstance(costs.channels, int) else " + ".join(map(str, costs.channels.values()))
        title = f"{path}: {channels} channels, one image of {costs.height} x {costs.width}"
        tables += [replace(pair_table(costs), title=title), part_table(costs)]
        file = Path(path).with_name(COSTS)
        if file.is_file():
            table = candidates(CostTable.read(file), architecture.exchanges)
            tables.append(replace(table, title=f"{file}: the cost of every block on one pair"))
        records += _records(path, costs)
        data.append({"architecture": path, **_data(costs)})
    if arguments.networks:
        networks = network_costs(arguments.networks, Config.load(arguments.config))
        tables.append(network_table(networks))
        records += [_record(one) for one in networks]
        data += [_network(one) for one in networks]
    figures = {} if comparison is None else {"delta_m_by_cost.png": lambda: _draw(comparison)}
    return Result("", tables, records, data, figures=figures)


def _config(architecture: Path, given: str | None) -> Path:
    if given is not None:
        return Path(given)
    path = architecture.parent / "config.yaml"
    if not path.is_file():
        raise InputError(f"no config.yaml beside '{architecture}': expected --config FILE")
    return path


def _draw(comparison: Comparison) -> "Figure":
    from analysis.report.figures import scatter  # loads matplotlib

    panels: dict[str, list[tuple[str, float, float, float | None]]] = {"multiply-adds, G": [], "parameters, M": []}
    for row in comparison.shown:
        costs = (("multiply-adds, G", row.multiply_adds, 1e9), ("parameters, M", row.parameters, 1e6))
        for panel, cost, unit in costs:
            if cost is not None:
                panels[panel].append((row.model, cost / unit, row.delta_m, row.delta_m_std))
    title = f"against {comparison.reference.model}; bars: standard deviation over seeds"
    return scatter(panels, "Delta_m, %", title)


def pair_table(costs: "Resources") -> Table:
    rows = [[pair_name(pair), costs.architecture.exchanges[pair], *_cells(cost)] for pair, cost in costs.pairs.items()]
    return Table(["pair", "block", "parameters", "multiply-adds"], rows, words=2)


def part_table(costs: "Resources") -> Table:
    """The blocks and everything around them, by name, with their sums."""
    blocks = costs.blocks().items()
    parts = [
        *((f"{name} ({count} {'pair' if count == 1 else 'pairs'})", cost) for name, (count, cost) in blocks),
        (f"aggregator ({costs.architecture.aggregator})", costs.aggregator),
        ("exchange", costs.exchange),
        *((f"auxiliary head of {task}", cost) for task, cost in costs.auxiliary.items()),
        ("host: encoder, decoder and heads", costs.host),
        ("network", costs.network),
    ]
    return Table(["part", "parameters", "multiply-adds"], [[name, *_cells(cost)] for name, cost in parts])


def network_table(networks: "Sequence[NetworkCosts]") -> Table:
    """Whole networks; the last column counts as published tables do."""
    header = ["network", "decoder", "exchange\nparameters", "exchange\nmultiply-adds", "\nparameters"]
    header += ["\nmultiply-adds", "with biases,\nnorms, ReLUs"]
    rows = [
        [one.name, one.decoder, *_cells(one.exchange), *_cells(one.network), f"{_elementwise(one):,}"]
        for one in networks
    ]
    return Table(header, rows, words=2)


def _elementwise(one: "NetworkCosts") -> int:
    return one.network.multiply_adds + one.elementwise


def _network(one: "NetworkCosts") -> dict[str, object]:
    counts = {"multiply_adds_elementwise": _elementwise(one), "exchange": _counts(one.exchange)}
    return {"network": one.name, "decoder": one.decoder, **_counts(one.network), **counts}


def _record(one: "NetworkCosts") -> dict[str, object]:
    """A row with the columns of `_records`."""
    empty = dict.fromkeys(("target", "source", "block"))
    return {"architecture": one.name, "part": "network", **empty, **_counts(one.network)}


def _cells(cost: Cost) -> list[str]:
    return [f"{cost.parameters:,}", f"{cost.multiply_adds:,}"]


def candidates(costs: CostTable, exchanges: Mapping[Pair, str]) -> Table:
    """costs.csv, a row for each block: how often it was chosen, and the range of its costs over the pairs; then the
    overhead of each target with incoming messages, the base, and the sum.
    """
    total = costs.total(exchanges)
    blocks = dict.fromkeys(name for row in costs.rows.values() for name in row if name != "none")
    chosen = list(exchanges.values())
    each = [(name, chosen.count(name), [row[name] for row in costs.rows.values() if name in row]) for name in blocks]
    each.append(("overhead per target", len(receiving_targets(exchanges)), list(costs.overheads.values())))
    rows = [[name, str(count), *_ranges(values)] for name, count, values in each]
    rows.append(["no exchange at all", "", *_ranges([costs.base])])
    rows.append(["the chosen exchange", "", *_ranges([total])])
    return Table(["block", "chosen", *(COLUMNS[measure] for measure in MEASURES)], rows)


def _ranges(costs: Sequence[Cost]) -> list[str]:
    return [_range(name, values) for name, values in zip(MEASURES, zip(*map(astuple, costs)), strict=True)]


def _range(measure: str, values: Sequence[float]) -> str:
    texts = [f"{1000 * value:.3f}" if measure == "latency" else f"{value:,.0f}" for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(texts))


def _counts(cost: Cost) -> dict[str, int]:
    return {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}


def _records(path: str, costs: "Resources") -> list[dict[str, object]]:
    """A row for each pair (with target, source and block), block and other part."""

    def record(
        part: str, cost: Cost, target: str | None = None, source: str | None = None, block: str | None = None
    ) -> dict[str, object]:
        place = {"architecture": path, "part": part, "target": target, "source": source, "block": block}
        return {**place, **_counts(cost)}

    exchanges = costs.architecture.exchanges
    others = ("aggregator", "exchange", "host", "network")
    return [
        *(record("pair", cost, *pair, exchanges[pair]) for pair, cost in costs.pairs.items()),
        *(record("block", cost, block=block) for block, (_, cost) in costs.blocks().items()),
        *(record("auxiliary", cost, task) for task, cost in costs.auxiliary.items()),
        *(record(part, getattr(costs, part)) for part in others),
    ]


def _data(costs: "Resources") -> dict[str, object]:
    blocks = costs.architecture.exchanges

    def row(target: str, sources: Sequence[str]) -> dict[str, object]:
        return {s: {"block": blocks[target, s], **_counts(costs.pairs[target, s])} for s in sources}

    return {
        "height": costs.height,
        "width": costs.width,
        "channels": costs.channels,
        "pairs": {t: row(t, sources) for rows in rows_by_scale(blocks).values() for t, sources in rows.items()},
        "blocks": {block: {"pairs": count, **_counts(cost)} for block, (count, cost) in costs.blocks().items()},
        "auxiliary": {task: _counts(cost) for task, cost in costs.auxiliary.items()},
        **{part: _counts(getattr(costs, part)) for part in ("aggregator", "exchange", "host", "network")},
    }
