"""Sections from other runs: repeated searches, retrained networks, and the network of the architecture itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.commands.agreement import remarks as agreement_remarks
from analysis.commands.agreement import run_tables, summary, variance_tables
from analysis.commands.compare import labels, tables
from analysis.commands.importance import cell, conditions
from analysis.commands.resources import pair_table, part_table
from analysis.measures.agreement import repeated
from analysis.measures.comparison import Comparison, ModelResult, remarks
from analysis.measures.costs import resources
from analysis.measures.importance import measure_importance
from analysis.measures.proportions import proportions
from analysis.measures.runs import ModelRun, load_network
from analysis.measures.searches import Search, marked, read_searches
from analysis.report.charts import bars
from analysis.report.numbers import spread
from analysis.report.page import Section
from analysis.report.pictures import pictures
from analysis.report.result import Table
from experiment.config import Config
from retrain.race.record import RACE, read_race
from retrain.race.verdict import row_cells
from search_spaces import BLOCKS, Architecture


def race(folder: Path, given: str | None) -> Section | None:
    """The verdict and the arms of the race that was given, or else of the one beside the search, if it is its own.

    Raises InputError where a race that was given is not finished.
    """
    beside = folder.with_name(f"{folder.name}_race")
    if given is None and not (beside / RACE).is_file():
        return None
    record = read_race(given or beside)
    if given is None and Path(record.search).resolve() != folder.resolve():
        return None
    cells = [[name, ended, *numbers] for name, *numbers, ended in map(row_cells, record.arms)]
    share = "" if record.retrainings is None else f", {record.retrainings:.1f} times those of one network as found"
    return {
        "verdict": record.verdict,
        "table": Table(["arm", "ended", "seeds", "Delta_m", "95 % interval", "multiply-adds"], cells, words=2),
        "remarks": record.remarks,
        "effort": f"{record.trainings} trainings, {record.seconds:.0f} s{share}",
    }


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
        "targets": {t: {s: _ordered(counts.count(t, s), counts.blocks) for s in tasks} for t in tasks},
    }


def _ordered(count: Counter[str], order: Sequence[str]) -> list[tuple[str, int]]:
    """The most frequent block first."""
    return sorted(((block, count[block]) for block in order if count[block]), key=lambda pair: -pair[1])


def comparison(comparison: Comparison, own: str | None) -> Section:
    """The tables of `compare` side by side, and a bar per model."""
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
    joined = [[*left, *right[1:]] for left, right in zip(summary.rows, metrics.rows, strict=True)]
    return {
        "table": replace(summary, header=[*summary.header, *metrics.header[1:]], rows=joined),
        "bars": bars(points),
        "own": [own is not None and row.run == str(Path(own)) for row in models],
        "baseline": comparison.reference.model,
        "whiskers": "95 % interval" if any(row.delta_m_interval for row in models) else "standard deviation over seeds",
        "remarks": remarks(comparison),
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


def predictions(
    found: ModelRun | None, models: Sequence[ModelRun], count: int, data_root: str | None
) -> Section | None:
    """Of the found network and of the multi-task baseline, from their first seeds."""
    shown = {"found": found} if found is not None else {}
    shown |= {model.name: model for model in models if model.name == "multi_task"}
    if not shown or count < 1:
        return None
    networks = {name: load_network(model.seeds[0].folder, data_root) for name, model in shown.items()}
    return {"images": pictures(networks, count), "names": ["label", *networks]}
