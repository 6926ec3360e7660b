"""Parameters and multiply-adds of architectures: by pair, by block, and of everything around them.

The sizes of the network come from the config.yaml beside each architecture, or from --config. Multiply-adds are those
of one image, in convolutions and matrix products. The auxiliary heads stand apart: label blocks alone need them. With
--baseline, also Delta_m against both costs of trained models (as in Fig. 5 of Bruggemann et al., Exploring Relational
Context for Multi-Task Dense Prediction, ICCV 2021), as delta_m_by_cost.png in --output. Of a search run, tables also
show what it could have chosen from: its costs.csv, of every block on one pair.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.arguments import output_folder
from analysis.measures.block_costs import cells as candidates
from analysis.measures.comparison import Comparison, compare
from analysis.measures.runs import read_architectures
from analysis.report.tables import aligned, comma_separated, markdown
from experiment.errors import InputError
from supernet.records.costs import COSTS, Cost, CostTable

if TYPE_CHECKING:
    from analysis.measures.costs import Resources
    from search_spaces import Architecture

    Found = Mapping[str, Resources]  # {file: what its architecture costs}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="search runs, retrain runs or architecture files")
    parser.add_argument("--config", metavar="FILE", help="configuration, for files without a config.yaml beside them")
    parser.add_argument(
        "--baseline",
        metavar=("DIR", "MODEL_DIR"),
        nargs="+",
        help="retrain runs, the baseline (single_task) first, whose Delta_m to draw against their costs",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for resources.csv and delta_m_by_cost.png")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), markdown, csv or json")


def run(arguments: argparse.Namespace) -> None:
    folder = output_folder(arguments.output)
    if arguments.baseline is not None and (folder is None or len(arguments.baseline) < 2):
        raise InputError("--baseline draws a figure: expected one or more MODEL_DIR behind its DIR, and --output")
    comparison = None if arguments.baseline is None else compare(arguments.baseline[0], arguments.baseline[1:])
    architectures = read_architectures(arguments.runs)
    from analysis.measures.costs import resources  # loads torch
    from analysis.measures.settings import read_settings

    found = {
        path: resources(architecture, read_settings(_config(Path(path), arguments.config)))
        for path, architecture in architectures.items()
    }
    sections = [FORMATS[arguments.format](found)]
    if arguments.format in DRAWN:
        sections += _candidates(architectures, DRAWN[arguments.format])
    print("\n\n".join(sections))
    if folder is not None:
        from experiment.files import write_atomic  # loads torch

        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "resources.csv", as_csv(found) + "\n")
        if comparison is not None:
            _draw(comparison, folder / "delta_m_by_cost.png")


def _candidates(architectures: "Mapping[str, Architecture]", draw: "Draw") -> list[str]:
    """What every block costs, of those that have a costs.csv beside them."""
    sections = []
    for path, architecture in architectures.items():
        file = Path(path).with_name(COSTS)
        if file.is_file():
            header, rows = candidates(CostTable.read(file), architecture.exchanges)
            sections += [f"{file}: what every block costs on one pair", draw(header, rows)]
    return sections


def _config(architecture: Path, given: str | None) -> Path:
    if given is not None:
        return Path(given)
    path = architecture.parent / "config.yaml"
    if not path.is_file():
        raise InputError(f"no config.yaml beside '{architecture}': expected --config FILE")
    return path


def _draw(comparison: Comparison, path: Path) -> None:
    from analysis.report.figures import scatter  # loads matplotlib

    reference, rows = comparison.reference, comparison.rows
    panels: dict[str, list[tuple[str, float, float, float | None]]] = {"multiply-adds, G": [], "parameters, M": []}
    for row in (reference, *(row for row in rows if row.run != reference.run)):
        costs = (("multiply-adds, G", row.multiply_adds, 1e9), ("parameters, M", row.parameters, 1e6))
        for panel, cost, unit in costs:
            if cost is not None:
                panels[panel].append((row.model, cost / unit, row.delta_m, row.delta_m_std))
    scatter(panels, path, "Delta_m, %", f"against {reference.model}; bars: standard deviation over seeds")


def parts(found: "Resources") -> list[tuple[str, Cost]]:
    """The blocks and everything around them, by name, with their sums."""
    blocks = [(f"{name} ({count} {'pair' if count == 1 else 'pairs'})", cost) for name, (count, cost) in
              found.blocks().items()]  # fmt: skip
    return [
        *blocks,
        (f"aggregator ({found.architecture.aggregator})", found.aggregator),
        ("exchange", found.exchange),
        *((f"auxiliary head of {task}", cost) for task, cost in found.auxiliary.items()),
        ("host: encoder, decoder and heads", found.host),
        ("network", found.network),
    ]


Cells = list[list[str]]
Draw = Callable[[list[str], Cells], str]
DRAWN: dict[str, Draw] = {"table": aligned, "markdown": markdown}


def cells(found: "Resources") -> tuple[Cells, Cells]:
    """Printed rows: (pair, block, parameters, multiply-adds), and (part, parameters, multiply-adds)."""
    exchanges = found.architecture.exchanges
    pairs = [[f"{t} <- {s}", exchanges[t, s], *_numbers(cost)] for (t, s), cost in found.pairs.items()]
    return pairs, [[name, *_numbers(cost)] for name, cost in parts(found)]


def _numbers(cost: Cost) -> list[str]:
    return [f"{cost.parameters:,}", f"{cost.multiply_adds:,}"]


def counts(cost: Cost) -> dict[str, int]:
    return {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}


COST_HEADER = ["parameters", "multiply-adds"]


def as_table(found: "Found", draw: Draw = aligned) -> str:
    sections = []
    for path, costs in found.items():
        pairs, around = cells(costs)
        title = f"{path}: {costs.channels} channels, one image of {costs.height} x {costs.width}"
        sections += [title, draw(["pair", "block", *COST_HEADER], pairs), draw(["part", *COST_HEADER], around)]
    return "\n\n".join(sections)


def as_markdown(found: "Found") -> str:
    return as_table(found, markdown)


def as_csv(found: "Found") -> str:
    """A line a pair (with target, source and block), a block and each other part."""
    rows: list[list[object]] = []
    for path, costs in found.items():
        for (target, source), cost in costs.pairs.items():
            block = costs.architecture.exchanges[target, source]
            rows.append([path, "pair", target, source, block, cost.parameters, cost.multiply_adds])
        for block, (_, cost) in costs.blocks().items():
            rows.append([path, "block", None, None, block, cost.parameters, cost.multiply_adds])
        for task, cost in costs.auxiliary.items():
            rows.append([path, "auxiliary", task, None, None, cost.parameters, cost.multiply_adds])
        for part in ("aggregator", "exchange", "host", "network"):
            cost = getattr(costs, part)
            rows.append([path, part, None, None, None, cost.parameters, cost.multiply_adds])
    return comma_separated(["architecture", "part", "target", "source", "block", "parameters", "multiply_adds"], rows)


def as_json(found: "Found") -> str:
    def row(costs: "Resources", target: str) -> dict[str, object]:
        blocks, pairs, sources = costs.architecture.exchanges, costs.pairs, costs.architecture.tasks
        return {source: {"block": blocks[target, source], **counts(pairs[target, source])} for source in sources}

    content = [
        {
            "architecture": path,
            "height": costs.height,
            "width": costs.width,
            "channels": costs.channels,
            "pairs": {target: row(costs, target) for target in costs.architecture.tasks},
            "blocks": {block: {"pairs": count, **counts(cost)} for block, (count, cost) in costs.blocks().items()},
            "auxiliary": {task: counts(cost) for task, cost in costs.auxiliary.items()},
            **{part: counts(getattr(costs, part)) for part in ("aggregator", "exchange", "host", "network")},
        }
        for path, costs in found.items()
    ]
    return json.dumps(content, indent=1)


FORMATS: dict[str, "Callable[[Found], str]"] = {
    "table": as_table,
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
}
