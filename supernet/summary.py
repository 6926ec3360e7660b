"""What a search prints at its end."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from experiment.calls import call
from experiment.config import Config
from experiment.config.search import READERS
from search_spaces import Architecture
from search_spaces.blocks import Pair
from supernet.records.choices import Choice
from supernet.records.pairs import pair_name


def print_cost(config: Config, cost: float) -> None:
    budget = "" if config.search.budget is None else f", of a budget of {config.search.budget:,g}"
    print(f"{config.search.cost} of the exchange: {cost:,g}{budget}")


def print_choice(config: Config, architecture: Architecture, choices: Mapping[Pair, Choice]) -> None:
    """The table of blocks, their posterior probabilities and warnings."""
    print(f"\n{architecture.table()}\n")
    if any(choice.probability is not None for choice in choices.values()):
        print(
            "posterior probability in %; ? marks pairs below search.confidence (none, or the cheapest near-best block)"
        )
        for target in architecture.places:
            cells = [choice for pair, choice in choices.items() if pair[0] == target]
            marks = [f"{100 * (c.probability or 0):.0f}{'' if c.decided else '?'}" for c in cells]
            print(f"  {target:<12} " + " ".join(f"{mark:>12}" for mark in marks))
    if config.search.strategy in READERS["worth"]:
        print(effects_sentence(choices, config.search.worth))
    elif collapse_warning(architecture):
        print(collapse_warning(architecture))
    undecided = sum(not choice.decided for choice in choices.values())
    if undecided:
        print(f"{undecided} of {len(choices)} pairs are undecided")


def print_next(folder: Path, weighted: bool) -> None:
    """The next commands. weighted: whether the run holds loss weights that a retraining needs."""
    file = shlex.quote(str(folder / "architecture.yaml"))
    written, retrained = shlex.quote(str(folder / "config.yaml")), shlex.quote(f"{folder}_found")
    weights = f" --loss_weights.file {shlex.quote(str(folder / 'loss_weights.yaml'))}" if weighted else ""
    retrain = f"{call('retrain')} --config {written}{weights}"
    print(f"next: {retrain} --architecture {file} --output {retrained} --seeds 0 1")
    print(f"proof: {retrain} --race {shlex.quote(str(folder))} --output {shlex.quote(f'{folder}_race')}")


def effects_sentence(choices: Mapping[Pair, Choice], worth: float) -> str:
    """What the chosen exchanges are expected to save, the largest first."""
    found = [(choice.effect, pair, choice) for pair, choice in choices.items() if choice.effect is not None]
    if not found:
        return f"no exchange is likely to save {worth:g} % of its target's loss or more"
    lines = ["expected to be saved, in % of the target's loss (95 % interval):"]
    for effect, pair, choice in sorted(found, key=lambda one: -one[0]):
        low, high = choice.interval or (effect, effect)
        lines.append(f"  {pair_name(pair):<24} {choice.block:<12} {effect:5.2f}  ({low:.2f} to {high:.2f})")
    return "\n".join(lines)


def collapse_warning(architecture: Architecture) -> str:
    """One line if all pairs chose the same block, often a fault of the search and not of the tasks; else empty."""
    off_diagonal = {name for (target, source), name in architecture.exchanges.items() if target != source}
    everywhere = set(architecture.exchanges.values())
    alike = everywhere if len(everywhere) == 1 else off_diagonal
    if len(alike) != 1 or len(architecture.tasks) < 2:
        return ""
    where = "every pair" if len(everywhere) == 1 else "every pair of different tasks"
    return (
        f"warning: collapsed: {where} chose {next(iter(alike))}; the search distinguished no pairs. Try more "
        "training.iterations or another seed."
    )
