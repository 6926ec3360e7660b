"""Files of a search whose values stand on the page as they are, checked when they are read."""

from pathlib import Path
from typing import Any

from analysis.commands.resources import COLUMNS
from analysis.measures.facts import Facts, read_facts
from experiment.errors import InputError


def read_metrics(path: Path) -> dict[str, Any]:
    """metrics.json of a search. Raises InputError for a value of another kind."""
    facts = read_facts(path)
    if not facts.inside("tasks").content:
        raise InputError(f"'{path}' has no tasks: expected what a search writes")
    for key in ("tasks", "prior"):
        for _, metrics in facts.inside(key).parts():
            for _, entry in metrics.parts():
                entry.number("value"), entry.flag("higher_is_better"), entry.flag("primary")
    facts.text("split"), facts.amount("train_seconds")
    cost = facts.inside("exchange_cost")
    if cost.amount("budget") and (cost.number("value") is None or cost.text("measure") not in COLUMNS):
        raise InputError(f"'{path}': exchange_cost has a budget: expected its value and its measure beside it")
    return _without_null(facts)


def read_weights(path: Path) -> dict[str, Any]:
    """loss_weights.yaml of a search. Raises InputError for a value that is missing or of another kind."""
    facts = read_facts(path)
    weights, provenance = facts.inside("weights"), facts.inside("provenance")
    importances = provenance.inside("importances")
    numbers: list[float | None] = [provenance.integer(key) for key in ("trials", "iterations", "pruned", "best_trial")]
    numbers += [provenance.number("delta_m"), *map(weights.amount, weights.content)]
    numbers += map(importances.amount, importances.content)
    if not weights.content or None in numbers:
        raise InputError(f"'{path}' lacks values: expected what a search writes")
    return {**facts.content, "provenance": {**provenance.content, "importances": importances.content}}


def _without_null(facts: Facts) -> dict[str, Any]:
    """A key without a value is as good as none."""
    return {key: value for key, value in facts.content.items() if value is not None}
