"""Sections from other runs: repeated searches, retrained networks, and the network of the architecture itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from torch.utils.data import default_collate

from analysis.commands.agreement import remarks as agreement_remarks
from analysis.commands.agreement import run_tables, summary, variance_tables
from analysis.commands.compare import labels, tables
from analysis.commands.importance import cell, conditions
from analysis.commands.resources import pair_table, part_table
from analysis.measures.agreement import repeated
from analysis.measures.attention import look
from analysis.measures.comparison import Comparison, ModelResult, remarks
from analysis.measures.costs import resources
from analysis.measures.importance import measure_importance
from analysis.measures.proportions import proportions
from analysis.measures.runs import ModelRun, load_architecture, load_network, read_model
from analysis.measures.saved import saved, without_exchange
from analysis.measures.searches import Search, marked, read_searches
from analysis.report.charts import bars, chart_of_courses
from analysis.report.figures import short
from analysis.report.numbers import decimal, spread
from analysis.report.page import Section
from analysis.report.pictures import legend, looks, pictures, viridis
from analysis.report.result import Table
from analysis.report.training import courses
from experiment.config import Config
from multitask.data import class_names
from multitask.data.samples import plain_batch
from retrain.loading import Trained
from retrain.race.record import RACE, read_race
from retrain.race.verdict import row_cells
from search_spaces import BLOCKS, Architecture
from supernet.records.choices import Choice
from supernet.records.pairs import Pair, pair_name, rows_by_scale

FOUND = "found"


def race_folder(search: Path, given: str | None) -> Path | None:
    """Of the race that was given, or else of the one beside the search, if it is its own and finished."""
    beside = search.with_name(f"{search.name}_race")
    if given is not None:
        return Path(given)
    own = (beside / RACE).is_file() and Path(read_race(beside).search).resolve() == search.resolve()
    return beside if own else None


def race(folder: Path) -> Section | None:
    """The verdict and the arms of a race. Raises InputError where it is not finished."""
    record = read_race(folder)
    cells = [[name, ended, *numbers] for name, *numbers, ended in map(row_cells, record.arms)]
    share = "" if record.retrainings is None else f", {record.retrainings:.1f} times those of one network as found"
    return {
        "verdict": record.verdict,
        "table": Table(["arm", "ended", "seeds", "Delta_m", "95 % interval", "multiply-adds"], cells, words=2),
        "remarks": record.remarks,
        "effort": f"{record.trainings} trainings, {record.seconds:.0f} s{share}",
    }


def predicted(
    race: Path | None,
    found: ModelRun | None,
    models: Sequence[ModelRun],
    architecture: Architecture | None,
    choices: Mapping[Pair, Choice],
) -> Section | None:
    """What was predicted and what retraining saved: of the networks that were given, or else of the race's.

    race: its folder; models: among which the network without exchange may be. None where the found network is another
    than the search's.
    """
    none = without_exchange(models)
    if found is None or none is None:
        found, none = (None if race is None else read_model(race / name) for name in (FOUND, "none"))
    if found is None or none is None or not found.seeds or other_architecture(found, architecture) is not None:
        return None
    rows = saved(found, none, choices)
    if not rows:
        return None
    cells = [
        [
            row.task,
            decimal(row.predicted, 1, "+") if row.receives else "no exchange",
            "" if row.interval is None else f"{row.interval[0]:+.1f} to {row.interval[1]:+.1f}",
            f"{fmean(row.retrained.values()):+.1f}",
            ", ".join(f"{value:+.1f}" for value in row.retrained.values()),
        ]
        for row in rows
    ]
    return {"table": Table(["task", "predicted, %", "95 % interval", "retrained, %", "each seed"], cells)}


def searches(folder: Path, others: Sequence[str]) -> list[Search]:
    """This one and the others; empty without others."""
    if not others:
        return []
    return read_searches([folder, *(run for run in others if Path(run).resolve() != folder.resolve())])


def reliability(searches: Sequence[Search]) -> Section:
    """Agreement of the first search with the others, and how often each pair got each block in those of its kind."""
    kinds = repeated(searches)
    shown = next((kind for kind in kinds if searches[0] in kind.searches), kinds[0])
    tasks = searches[0].architecture.tasks
    counts = proportions(tasks, [search.architecture.exchanges for search in shown.searches], tuple(BLOCKS))
    return {
        "summary": summary(kinds),
        "runs": run_tables(searches),
        "variance": variance_tables(kinds),
        "remarks": agreement_remarks(searches, kinds),
        "title": marked(f"{len(shown.searches)} searches", shown.noise_null),
        "total": len(shown.searches),
        "legend": counts.blocks,
        "targets": {
            target: {source: _ordered(counts.count(target, source), counts.blocks) for source in sources}
            for rows in rows_by_scale(counts.counts).values()
            for target, sources in rows.items()
        },
    }


def _ordered(count: Counter[str], order: Sequence[str]) -> list[tuple[str, int]]:
    """The most frequent block first."""
    return sorted(((block, count[block]) for block in order if count[block]), key=lambda pair: -pair[1])


def comparison(comparison: Comparison, own: str | None, note: str | None) -> Section:
    """The tables of `compare`, and a bar per model."""
    summary, metrics, _ = tables(comparison)
    models = comparison.shown[1:]

    def whisker(row: ModelResult) -> tuple[float, float] | None:
        if row.delta_m_interval is None and row.delta_m_std is not None:
            return row.delta_m - row.delta_m_std, row.delta_m + row.delta_m_std
        return row.delta_m_interval

    points = [
        (name, spread(row.delta_m, row.delta_m_std, 2, "+"), row.delta_m, whisker(row))
        for name, row in zip(labels(comparison)[1:], models, strict=True)
    ]
    return {
        "tables": [summary, metrics],
        "bars": bars(points),
        "own": [own is not None and row.run == str(Path(own)) for row in models],
        "baseline": comparison.reference.model,
        "whiskers": "95 % interval" if any(row.delta_m_interval for row in models) else "standard deviation over seeds",
        "remarks": [*([note] if note else []), *remarks(comparison)],
    }


def network_costs(architecture: Architecture, config: Config, data_root: str | None) -> Section:
    """Raises InputError where the data of the search is gone."""
    if data_root is not None:
        config = replace(config, data=replace(config.data, root=data_root))
    costs = resources(architecture, config)
    return {"pairs": pair_table(costs), "parts": part_table(costs), "height": costs.height, "width": costs.width}


def importance(run: ModelRun, baseline: str | None, data_root: str | None) -> Section:
    """Of the first seed."""
    measured = measure_importance(run.seeds[0].folder, baseline, data_root=data_root)
    largest = max(max(abs(measured.mean(pair)) for pair in measured.blocks), 1e-9)
    cells = {pair: (cell(measured, pair), measured.mean(pair) / largest) for pair in measured.blocks}
    return {"tasks": measured.tasks, "cells": cells, "blocks": measured.blocks, "text": conditions(measured)}


def networks(
    found: ModelRun | None, baseline: ModelRun | None, models: Sequence[ModelRun], data_root: str | None
) -> dict[str, Trained]:
    """The found network, the multi-task network and, beside one of them, the baseline, of their first seeds."""
    shown = {FOUND: found} if found is not None else {}
    shown |= {model.name: model for model in models if model.name == "multi_task"}
    shown |= {baseline.name: baseline} if shown and baseline is not None else {}
    return {name: load_network(model.seeds[0].folder, data_root) for name, model in shown.items()}


def attention(networks: Mapping[str, Trained], choices: Mapping[Pair, Choice]) -> Section | None:
    """What a pair of the found network reads in the first image that is shown."""
    if FOUND not in networks:
        return None
    found = networks[FOUND]
    sample = found.dataset.splits["test"][0]
    effects = {pair: choice.effect for pair, choice in choices.items() if choice.effect is not None}
    seen = look(found.network, plain_batch(default_collate([sample]), torch.device("cpu")), effects)
    if seen is None:
        return None
    target, source = seen.pair
    kind = "attends" if seen.points else "has gates"
    name = f"{pair_name(seen.pair)}, {short(seen.block)}"
    if seen.pair in effects:
        name += f", the largest predicted effect of a block that {kind}"
    if seen.points:
        times = float((seen.maps.amax((1, 2)) / seen.maps.mean((1, 2))).max())
        text = f"how much the pixel of {target} in the ring reads of each place of {source}"
        text += f", at most {times:.1f} times the mean"
    else:
        low, high = float(seen.maps.min()), float(seen.maps.max())
        text = f"how far the gates are open, on average over channels, from {low:.2f} to {high:.2f} (1 is open)"
    image = sample["image"][seen.source] if isinstance(sample["image"], dict) else sample["image"]
    return {
        "caption": f"{name}: {text}. Image 1; bright is much, dark is 0.",
        "pictures": looks(image.permute(1, 2, 0).numpy(), seen.maps.numpy(), seen.points),
    }


def predictions(networks: Mapping[str, Trained], count: int) -> Section | None:
    if not networks:
        return None
    images = pictures(networks, count)
    first = next(iter(networks.values()))
    names = class_names(first.data)
    classes = {
        task: legend(
            names.get(task, ()), sorted({k for image in images for k in image["classes"].get(task, ())}), first_id
        )
        for task in first.dataset.tasks
        if (first_id := getattr(first.dataset.tasks[task], "first_id", None)) is not None
    }
    return {
        "images": images,
        "legends": {task: colours for task, colours in classes.items() if colours},
        "scale": viridis(),
    }


def training(found: ModelRun | None, baseline: ModelRun | None) -> Section | None:
    """Loss and validation over the steps, of the first seeds, as their events recorded them."""
    models = [model for model in (found, baseline) if model is not None]
    if not models:
        return None
    looks = {model.name: colour for model, colour in zip(models, (None, "var(--other)"))}
    recorded = {model.name: courses(model.seeds[0], list(models[0].seeds[0].tasks)) for model in models}
    titles = dict.fromkeys(title for of_model in recorded.values() for title in of_model)
    charts = []
    for title in titles:
        lines = {name: (looks[name], of_model[title]) for name, of_model in recorded.items() if title in of_model}
        if max(len(course) for _, course in lines.values()) > 1:
            charts.append(chart_of_courses(title, lines))
    return {"charts": charts, "looks": looks} if charts else None


def other_architecture(found: ModelRun | None, chosen: Architecture | None) -> str | None:
    """A remark where the network that is shown as found has another architecture than the search chose."""
    if found is None or chosen is None:
        return None
    path = found.seeds[0].folder / "architecture.yaml"
    if path.is_file() and dict(load_architecture(path).exchanges) == dict(chosen.exchanges):
        return None
    return f"note: {found.name} in '{found.folder}' has not the architecture of this search"
