"""A search and what came of it on one page: an HTML file that needs nothing else.

Shows the architecture, how the choice moved, validation metrics, costs and the Pareto front; with --searches how
reliably it repeats; with --found, --models and --baseline Delta_m, images and predictions; with --importance how much
each exchange matters. A section without input is left out.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from analysis.commands import compare as compare_command
from analysis.measures.comparison import Comparison, ModelResult, check_finished, compare, remarks
from analysis.measures.runs import ModelRun, load_architecture, load_network, read_mapping, read_model
from analysis.measures.searches import choices_of, is_noise_null, marked, read_searches
from analysis.report.charts import bars, chart
from experiment.errors import InputError
from supernet.records.choices import CHOICES, Choice
from supernet.records.costs import COSTS, CostTable
from supernet.records.pairs import Pair
from supernet.records.samples import FRONT, PARETO, read_samples
from supernet.records.selection_history import SELECTION, History, read_history
from supernet.records.trials import TRIALS, WEIGHTS, read_trials

if TYPE_CHECKING:
    from search_spaces import Architecture

Section = dict[str, Any]  # what the template shows of it
STEPS = 200  # a line does not need more points


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="SEARCH_RUN", help="run folder written by search.py")
    parser.add_argument(
        "--searches", metavar="RUN", nargs="+", default=[], help="repeated searches to compare with, and noise nulls"
    )
    parser.add_argument("--found", metavar="DIR", help="retrain run of the architecture that was found")
    parser.add_argument("--baseline", metavar="DIR", help="retrain run of the baseline (single_task), for Delta_m")
    parser.add_argument("--models", metavar="DIR", nargs="+", default=[], help="retrain runs to compare with")
    parser.add_argument("--output", metavar="FILE", help="HTML file; by default report.html in SEARCH_RUN")
    parser.add_argument("--images", type=int, default=4, metavar="N", help="images with predictions (default 4)")
    parser.add_argument("--importance", action="store_true", help="also shuffle every message of --found (takes time)")
    parser.add_argument("--data-root", metavar="DIR", help="stands in for a data folder that has moved")


def run(arguments: argparse.Namespace) -> None:
    folder = Path(arguments.folder)
    output = folder / "report.html" if arguments.output is None else Path(arguments.output)
    if output.is_dir():
        raise InputError(f"--output '{output}' is a folder: expected a file")
    if arguments.importance and arguments.found is None:
        raise InputError("--importance needs the network whose messages to shuffle: expected --found DIR")
    if not (folder / "config.yaml").is_file():
        raise InputError(f"'{folder}' is no run: expected a config.yaml in it")
    page = _page(folder, arguments)
    from experiment.files import write_atomic

    # plain ASCII, which no editor and no server can misread
    write_atomic(output, page.encode("ascii", "xmlcharrefreplace").decode())
    print(f"wrote {output}")


def _page(folder: Path, arguments: argparse.Namespace) -> str:
    config = read_mapping(folder / "config.yaml", yaml.safe_load)
    metrics = _if_there(folder / "metrics.json", lambda path: read_mapping(path, yaml.safe_load))
    architecture = _if_there(folder / "architecture.yaml", load_architecture)
    choices = _if_there(folder / CHOICES, lambda path: architecture and choices_of(path, architecture)) or {}
    history = _if_there(folder / SELECTION, lambda path: read_history(path).thinned(STEPS))
    given = [*([arguments.found] if arguments.found else []), *arguments.models]
    comparison = compare(arguments.baseline, given) if arguments.baseline is not None and given else None
    found = _finished(arguments.found)
    models = [model for model in (_finished(path) for path in (*arguments.models, arguments.baseline)) if model]

    root = arguments.data_root
    dataset = (metrics or {}).get("dataset") or (config.get("data") or {}).get("name", folder.name)
    return _template().render(
        title=marked(f"Search on {dataset}", is_noise_null(folder)),
        facts=_facts(folder, config, metrics, architecture),
        matrix=_of(architecture, lambda architecture: _matrix(architecture, choices, config)),
        shares=_of(architecture, _shares),
        reliability=_reliability(folder, arguments.searches) if arguments.searches else None,
        selection=_of(history, lambda history: _selection(history, choices)),
        # a search that chooses only at its end has no course to draw
        schedules=_of(
            history if history and len(history.steps) > 2 else None, lambda history: _schedules(history, config)
        ),
        loss_weights=_loss_weights(folder),
        metrics=_of(metrics, _metrics),
        comparison=_of(comparison, lambda comparison: _comparison(comparison, arguments.found)),
        resources=_of(architecture, lambda plan: _optional(lambda: _resources(folder, plan, root))),
        costs=_of(architecture, lambda plan: _costs(folder, plan, metrics or {})),
        front=_front(folder / PARETO),
        importance=_of(found if arguments.importance else None, lambda run: _importance(run, arguments.baseline, root)),
        pictures=_optional(lambda: _pictures(found, models, arguments.images, root)),
    )


def _if_there(path: Path, read: Callable[[Path], Any]) -> Any:
    return read(path) if path.is_file() else None


def _of(given: Any, section: Callable[[Any], Section | None]) -> Section | None:
    return None if given is None else section(given)


def _finished(folder: str | None) -> ModelRun | None:
    if folder is None:
        return None
    model = read_model(folder)
    check_finished(model)
    return model


def _optional(section: Callable[[], Section | None]) -> Section | None:
    """A section that needs data or checkpoints, which may have gone since the run."""
    try:
        return section()
    except InputError as error:
        print(f"note: left out: {error}", file=sys.stderr)
        return None


def _template() -> Any:
    import jinja2

    from analysis.report.figures import colour, ink, short

    loader = jinja2.FileSystemLoader(Path(__file__).parents[1] / "report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.globals.update(colour=colour, ink=ink, short=short)
    return environment.get_template("report.html.j2")


def _facts(
    folder: Path, config: Mapping[str, Any], metrics: Any, architecture: "Architecture | None"
) -> dict[str, str]:
    """What was searched, for the head of the page."""
    data, network, training = (config.get(group) or {} for group in ("data", "network", "training"))
    space, backbone = config.get("space") or {}, network.get("backbone")
    options = network.get("backbone_options") or {}
    facts = {
        "tasks": ", ".join(data.get("tasks") or (architecture.tasks if architecture else ())),
        "space": f"{'custom' if space.get('blocks') else space.get('name', '')}",
        "seed": config.get("seed"),
        "image": f"{data.get('height')} x {data.get('width')} pixels",
        "backbone": ", ".join([str(backbone), *(f"{key} {value}" for key, value in options.items())]),
        "training": f"{training.get('iterations')} steps of {training.get('batch_size')} images",
        "searched in": f"{metrics['train_seconds']:.0f} s" if metrics and "train_seconds" in metrics else None,
        "aggregator": architecture.aggregator if architecture else None,
        "run": str(folder),
    }
    return {name: str(fact) for name, fact in facts.items() if fact not in (None, "")}


def _matrix(architecture: "Architecture", choices: Mapping[Pair, Choice], config: Mapping[str, Any]) -> Section:
    from search_spaces import BLOCKS

    blocks = architecture.exchanges
    chosen = set(blocks.values())
    known = [block for block in BLOCKS if block in chosen]
    undecided = {pair for pair, choice in choices.items() if not choice.decided}
    return {
        "tasks": architecture.tasks,
        "blocks": blocks,
        "legend": [*known, *sorted(chosen - set(known))],
        "probability": {pair: _percent(c.probability) for pair, c in choices.items() if c.probability is not None},
        "undecided": undecided,
        "count": f"{len(undecided)} of {len(blocks)} pairs" if choices else None,
        "gumbel": (config.get("search") or {}).get("strategy", "gumbel") == "gumbel",
    }


def _percent(value: float) -> str:
    """Only what is certain is rounded to 100 %."""
    return "> 99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"


def _shares(architecture: "Architecture") -> Section:
    from analysis.commands.proportions import proportions
    from search_spaces import BLOCKS

    found = proportions(architecture.tasks, [architecture.exchanges], tuple(BLOCKS))
    rows = {f"into {task}": found.shares(target=task) for task in found.tasks}
    rows |= {f"from {task}": found.shares(source=task) for task in found.tasks}
    return {"rows": {"all": found.shares()} | rows}


def _reliability(folder: Path, others: Sequence[str]) -> Section:
    """Agreement with the other searches, and how often each pair got each block in searches of this one's kind."""
    from analysis.commands.agreement import remarks, repeated, run_cells, summary, variance_cells
    from analysis.commands.proportions import proportions
    from search_spaces import BLOCKS

    searches = read_searches([folder, *(run for run in others if Path(run).resolve() != folder.resolve())])
    kinds = repeated(searches)
    shown = next((kind for kind in kinds if searches[0] in kind.searches), kinds[0])
    tasks = searches[0].architecture.tasks
    found = proportions(tasks, [search.architecture.exchanges for search in shown.searches], tuple(BLOCKS))
    return {
        "summary": summary(kinds),
        "runs": run_cells(searches),
        "variance": variance_cells(kinds),
        "remarks": remarks(searches, kinds),
        "title": marked(f"{len(shown.searches)} searches", shown.noise_null),
        "total": len(shown.searches),
        "legend": found.blocks,
        "targets": {t: {s: _counted(found.count(t, s), found.blocks) for s in tasks} for t in tasks},
    }


def _counted(count: Mapping[str, int], order: Sequence[str]) -> list[tuple[str, int]]:
    """The most frequent block first."""
    return sorted(((block, count[block]) for block in order if count[block]), key=lambda found: -found[1])


def _selection(history: History, choices: Mapping[Pair, Choice]) -> Section:
    """A chart per pair, by target."""
    from analysis.report.figures import colour

    targets: dict[str, list[Any]] = {}
    blocks: dict[str, None] = {}
    for (target, source), lines in history.probabilities.items():
        coloured = {block: (colour(block), line) for block, line in lines.items()}
        best = max(lines, key=lambda block: lines[block][-1])
        drawn = chart(f"{target} <- {source}", history.steps, coloured, 0, 1)
        targets.setdefault(target, []).append((source, drawn, best, lines[best][-1]))
        blocks |= dict.fromkeys(lines)
    undecided = sum(not choice.decided for choice in choices.values()) if choices else history.undecided()[-1]
    text = f"{undecided} of {len(history.probabilities)} pairs were undecided at the end"
    return {"targets": targets, "legend": list(blocks), "last": history.steps[-1], "undecided": text}


def _schedules(history: History, config: Mapping[str, Any]) -> Section:
    """Temperature and entropy weight as gumbel was told to follow, entropy and undecided pairs as recorded."""
    annealed = (config.get("search") or {}).get("strategy", "gumbel") == "gumbel"
    selection = (config.get("selection") or {}) if annealed else {}
    iterations = (config.get("training") or {}).get("iterations")
    charts = []
    for name, title in (("temperature", "temperature"), ("entropy", "entropy weight")):
        start, end = selection.get(f"{name}_start"), selection.get(f"{name}_end")
        if start is not None and end is not None and iterations:
            values = [start + (end - start) * min(1.0, step / iterations) for step in history.steps]
            charts.append(chart(title, history.steps, {title: (None, values)}))
    for title, line in (("mean pair entropy, nats", history.entropy()), ("undecided pairs", history.undecided())):
        charts.append(chart(title, history.steps, {title: (None, line)}, low=0))
    return {"charts": charts}


def _loss_weights(folder: Path) -> Section | None:
    """The weights that were found, and figures of the trials."""
    from analysis.report.figures import data_uri
    from supernet.loss_weights import figures

    if not (folder / WEIGHTS).is_file() or not (folder / TRIALS).is_file():
        return None
    found = read_mapping(folder / WEIGHTS, yaml.safe_load)
    trials = read_trials(folder / TRIALS)
    drawn = {
        "Delta_m of the trials": figures.history(trials),
        "each trial's weights and its Delta_m": figures.parallel_coordinates(trials),
    }
    if found["provenance"]["importances"]:
        drawn["importance of the weights"] = figures.importances(found["provenance"]["importances"])
    return {
        "rows": [(name, f"{weight:.4g}") for name, weight in found["weights"].items()],
        "provenance": found["provenance"],
        "figures": {title: data_uri(figure) for title, figure in drawn.items()},
    }


def _metrics(metrics: Mapping[str, Any]) -> Section:
    """Each metric of the choice inside the supernet beside the training prior's."""
    rows = []
    for task, entries in (metrics.get("tasks") or {}).items():
        for name, entry in entries.items():
            prior = ((metrics.get("prior") or {}).get(task) or {}).get(name)
            better = None
            if prior is not None:
                gain = entry["value"] - prior["value"]
                better = gain > 0 if entry["higher_is_better"] else gain < 0
            row = {"task": task, "metric": name, "arrow": "↑" if entry["higher_is_better"] else "↓"}
            rows.append(
                row
                | {"value": entry["value"], "prior": prior and prior["value"]}
                | {"better": better, "primary": entry["primary"]}
            )
    return {"rows": rows, "split": metrics.get("split", "val")}


def _comparison(found: Comparison, own: str | None) -> Section:
    """The rows of `compare`, and a bar per model."""
    reference, rows = found.reference, found.rows
    shown = [row for row in rows if Path(row.run).resolve() != Path(reference.run).resolve()]
    names = compare_command.labels(reference, rows)
    summary, metrics, _ = compare_command.columns(reference, rows)
    columns = {"model": names} | summary | metrics

    def interval(row: ModelResult) -> tuple[float, float] | None:
        if row.delta_m_interval is None and row.delta_m_std is not None:
            return row.delta_m - row.delta_m_std, row.delta_m + row.delta_m_std
        return row.delta_m_interval

    points = zip(names[1:], summary["Delta_m % ↑"][1:], shown, strict=True)
    return {
        "header": [name.replace("\n", " ") for name in columns],
        "rows": list(zip(*columns.values(), strict=True)),
        "bars": bars([(name, text, row.delta_m, interval(row)) for name, text, row in points]),
        "own": [own is not None and row.run == str(Path(own)) for row in shown],
        "baseline": reference.model,
        "whiskers": "95 % interval" if any(row.delta_m_interval for row in shown) else "standard deviation over seeds",
        "remarks": remarks(found.baseline, found.models),
    }


def _resources(folder: Path, architecture: "Architecture", data_root: str | None) -> Section:
    from analysis.commands.resources import cells
    from analysis.measures.costs import resources
    from analysis.measures.settings import read_settings

    settings = read_settings(folder / "config.yaml")
    if data_root is not None:
        settings = replace(settings, data=replace(settings.data, root=data_root))
    pairs, parts = cells(resources(architecture, settings))
    return {"pairs": pairs, "parts": parts, "height": settings.data.height, "width": settings.data.width}


def _costs(folder: Path, architecture: "Architecture", metrics: Mapping[str, Any]) -> Section | None:
    """What the choice was among, and the budget where there was one."""
    from analysis.measures.block_costs import NAMES, cells

    if not (folder / COSTS).is_file():
        return None
    found = metrics.get("exchange_cost") or {}
    budget = None
    if found.get("budget"):
        share = f"{100 * found['value'] / found['budget']:.0f} % of the budget of {_amount(found['budget'])}"
        budget = f"{_amount(found['value'])} {NAMES[found['measure']].partition(',')[0]}, {share}"
    return {"table": cells(CostTable.read(folder / COSTS), architecture.exchanges), "budget": budget}


def _amount(value: float) -> str:
    """Of multiply-adds, parameters, or seconds."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _front(folder: Path) -> Section | None:
    """The figure that --search.pareto drew, and the architectures on it."""
    from analysis.report.figures import png_uri

    path, figure = folder / FRONT, folder / "front.png"
    if not path.is_file() or not figure.is_file():
        return None
    rows = []
    for i, sample in enumerate(read_samples(path, ("cost",))):
        messages = sum(block != "none" for block in sample.exchanges.values())
        cells = [_amount(sample.values["cost"]), f"{sample.score:+.4f}", str(messages)]
        rows.append([f"architecture_{i:02d}", *cells])
    return {"figure": png_uri(figure.read_bytes()), "rows": rows}


def _importance(run: ModelRun, baseline: str | None, data_root: str | None) -> Section:
    """Of the first seed."""
    from analysis.commands.importance import describe, measure

    found = measure(run.seeds[0].folder, baseline, data_root=data_root)
    largest = max(max(abs(found.mean(pair)) for pair in found.blocks), 1e-9)
    cells = {pair: (found.text(pair), found.mean(pair) / largest) for pair in found.blocks}
    return {"tasks": found.tasks, "cells": cells, "blocks": found.blocks, "text": describe(found)}


def _pictures(found: ModelRun | None, models: Sequence[ModelRun], count: int, data_root: str | None) -> Section | None:
    """Predictions of the found network and of the multi-task baseline, from their first seeds."""
    shown = {"found": found} if found is not None else {}
    shown |= {model.name: model for model in models if model.name == "multi_task"}
    if not shown or count < 1:
        return None
    from analysis.report.pictures import pictures

    networks = {name: load_network(model.seeds[0].folder, data_root) for name, model in shown.items()}
    return {"images": pictures(networks, count), "names": ["label", *networks]}
