"""Sections from the files of the search run itself."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.commands.report.search_files import read_weights
from analysis.commands.resources import COLUMNS, candidates
from analysis.measures.proportions import proportions
from analysis.report.charts import Chart, chart
from analysis.report.figures import colour, data_uri, png_uri
from analysis.report.numbers import probability
from analysis.report.page import Section
from experiment.config import Config
from search_spaces import BLOCKS, Architecture, SpaceError
from search_spaces.blocks import block_class
from supernet.loss_weights import figures
from supernet.records.choices import Choice
from supernet.records.costs import CostTable
from supernet.records.pairs import Pair, pair_name, rows_by_scale
from supernet.records.samples import FRONT, read_samples
from supernet.records.selection_history import History
from supernet.records.trials import TRIALS, WEIGHTS, read_trials
from supernet.selection import linear_schedule

UNSURE = "the posterior probability is below search.confidence; they get"
# {strategy: why a pair is undecided, and what it gets}; of evidence as in `matrix`
UNDECIDED = {
    "gumbel": "not fixed by the end; they get the likeliest block",
    "score": f"{UNSURE} none",
    "guided": f"{UNSURE} what the supernet settles on",
}


def facts(folder: Path, config: Config, metrics: Any, architecture: Architecture | None) -> dict[str, str]:
    """The head of the page: what was searched."""
    data, network, training = config.data, config.network, config.training
    options = network.backbone_options
    entries = {
        "tasks": ", ".join(architecture.tasks if architecture else data.tasks),
        "space": "custom" if config.space.blocks else config.space.name,
        "scales": ", ".join(map(str, architecture.scales)) if architecture else None,
        "strategy": config.search.strategy,
        "seed": config.seed,
        "image": f"{data.height} x {data.width} pixels",
        "backbone": ", ".join([network.backbone, *(f"{key} {value}" for key, value in options.items())]),
        "training": f"{training.iterations} steps of {training.batch_size} images",
        "searched in": _seconds(metrics),
        "aggregator": architecture.aggregator if architecture else None,
        "run": folder,
    }
    return {name: str(entry) for name, entry in entries.items() if entry not in (None, "")}


def _seconds(metrics: Any) -> str | None:
    """Of training and of choosing."""
    if not metrics or "train_seconds" not in metrics:
        return None
    return f"{metrics['train_seconds'] + metrics.get('choice_seconds', 0):.0f} s"


def matrix(architecture: Architecture, choices: Mapping[Pair, Choice], config: Config) -> Section:
    blocks = architecture.exchanges
    chosen = set(blocks.values())
    known = [block for block in BLOCKS if block in chosen]
    undecided = {pair for pair, choice in choices.items() if not choice.decided}
    return {
        "scales": rows_by_scale(architecture.pairs),
        "blocks": blocks,
        "legend": [*known, *sorted(chosen - set(known))],
        "probability": {pair: probability(c.probability) for pair, c in choices.items() if c.probability is not None},
        "undecided": undecided,
        "meanings": {block: meaning(block) for block in [*known, *sorted(chosen - set(known))]},
        "count": f"{len(undecided)} of {len(blocks)} pairs" if choices else None,
        "why": UNDECIDED.get(config.search.strategy, f"{UNSURE} none, or the cheapest near-best block"),
    }


def meaning(block: str) -> str:
    """What a block does, in the words with which its file begins, and of a file of several blocks its class."""
    try:
        kind = block_class(block)
    except (SpaceError, ImportError):  # somebody's own, which has gone
        return ""
    names, _, text = _opening(sys.modules[kind.__module__].__doc__).rpartition(": ")
    return f"{text} {_opening(kind.__doc__)}" if "," in names else text


def _opening(text: str | None) -> str:
    """A docstring's first paragraph as one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def shares(architecture: Architecture) -> Section:
    """Of the blocks, over all pairs, by target and by source."""
    counted = proportions(architecture.tasks, [architecture.exchanges], tuple(BLOCKS))
    rows = {"all": counted.shares()}
    rows |= {f"into {task}": counted.shares(target=task) for task in counted.tasks}
    rows |= {f"from {task}": counted.shares(source=task) for task in counted.tasks}
    rows |= {f"scale {scale}": counted.shares(scale=scale) for scale in counted.scales}
    return {"rows": rows}


def selection(history: History, choices: Mapping[Pair, Choice]) -> Section:
    """A chart per pair, by target."""
    targets: dict[str, list[tuple[str, Chart, str, float]]] = {}
    blocks: dict[str, None] = {}
    for pair, lines in history.probabilities.items():
        coloured = {block: (colour(block), line) for block, line in lines.items()}
        best = max(lines, key=lambda block: lines[block][-1])
        drawn = chart(pair_name(pair), history.steps, coloured, 0, 1)
        targets.setdefault(pair[0], []).append((pair[1], drawn, best, lines[best][-1]))
        blocks |= dict.fromkeys(lines)
    undecided = sum(not choice.decided for choice in choices.values()) if choices else history.undecided()[-1]
    text = f"{undecided} of {len(history.probabilities)} pairs were undecided at the end"
    return {"targets": targets, "legend": list(blocks), "last": history.steps[-1], "undecided": text}


def schedules(history: History, config: Config) -> Section:
    """Of gumbel the temperature and the entropy weight by their schedules; entropy and undecided pairs as recorded."""
    charts = []
    if config.search.strategy == "gumbel":
        settings, iterations = config.search.gumbel, config.training.iterations
        ends = {
            "temperature": (settings.temperature_start, settings.temperature_end),
            "entropy weight": (settings.entropy_start, settings.entropy_end),
        }
        for title, (start, end) in ends.items():
            values = [linear_schedule(start, end, step, iterations) for step in history.steps]
            charts.append(chart(title, history.steps, {title: (None, values)}))
    for title, line in (("mean pair entropy, nats", history.entropy()), ("undecided pairs", history.undecided())):
        charts.append(chart(title, history.steps, {title: (None, line)}, low=0))
    return {"charts": charts}


def loss_weights(folder: Path) -> Section | None:
    """The weights of the best trial, and figures of all trials."""
    if not (folder / WEIGHTS).is_file() or not (folder / TRIALS).is_file():
        return None
    best = read_weights(folder / WEIGHTS)
    trials = read_trials(folder / TRIALS)
    drawn = {
        "Delta_m of the trials": figures.history(trials),
        "each trial's weights and its Delta_m": figures.parallel_coordinates(trials),
    }
    if best["provenance"]["importances"]:
        drawn["importance of the weights"] = figures.importances(best["provenance"]["importances"])
    return {
        "rows": [(name, f"{weight:.4g}") for name, weight in best["weights"].items()],
        "provenance": best["provenance"],
        "figures": {title: data_uri(figure) for title, figure in drawn.items()},
    }


def validation(metrics: Mapping[str, Any]) -> Section:
    """Each metric of what the search trained beside the training prior's."""
    rows = []
    for task, entries in (metrics.get("tasks") or {}).items():
        for name, entry in entries.items():
            prior = ((metrics.get("prior") or {}).get(task) or {}).get(name)
            better = None
            if prior is not None and entry["value"] is not None and prior["value"] is not None:
                gain = entry["value"] - prior["value"]
                better = gain > 0 if entry["higher_is_better"] else gain < 0
            row = {"task": task, "metric": name, "arrow": "↑" if entry["higher_is_better"] else "↓"}
            row |= {"value": entry["value"], "prior": None if prior is None else prior["value"]}
            rows.append(row | {"better": better, "primary": entry["primary"]})
    supernet = metrics.get("model", "supernet") == "supernet"
    return {"rows": rows, "split": metrics.get("split", "val"), "supernet": supernet}


def candidate_costs(file: Path, architecture: Architecture, metrics: Mapping[str, Any]) -> Section | None:
    """The costs of all candidates, and the share of the budget where there was one."""
    if not file.is_file():
        return None
    cost = metrics.get("exchange_cost") or {}
    budget = None
    if cost.get("budget"):
        share = f"{100 * cost['value'] / cost['budget']:.0f} % of the budget of {_amount(cost['budget'])}"
        budget = f"{_amount(cost['value'])} {COLUMNS[cost['measure']].partition(',')[0]}, {share}"
    return {"table": candidates(CostTable.read(file), architecture.exchanges), "budget": budget}


def front(folder: Path) -> Section | None:
    """The figure that --search.pareto drew, and the architectures on it."""
    path, figure = folder / FRONT, folder / "front.png"
    if not path.is_file() or not figure.is_file():
        return None
    rows = []
    for i, sample in enumerate(read_samples(path, ("cost",))):
        messages = sum(block != "none" for block in sample.exchanges.values())
        cells = [_amount(sample.values["cost"]), f"{sample.score:+.4f}", str(messages)]
        rows.append([f"architecture_{i:02d}", *cells])
    return {"figure": png_uri(figure.read_bytes()), "rows": rows}


def _amount(value: float) -> str:
    """Of multiply-adds, parameters, or seconds."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"
