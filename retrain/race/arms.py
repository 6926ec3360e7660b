"""What takes part in a race: named models, of which equal ones are one arm."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from experiment.errors import InputError, unknown
from retrain.baselines import baseline
from retrain.model import Model
from retrain.race.rules import NONE
from retrain.race.search_run import SearchRun
from search_spaces import Architecture, SearchSpace
from search_spaces.blocks import Pair
from search_spaces.scales import task_of

FOUND = "found"
UNIFORM = "uniform:"
BEST_ROWS, OWN = "best_rows", "own"  # what follows from the uniform arms
ABLATION, SUPERNET = OF_SEARCH = ("ablation", "supernet")  # which not every search gives


@dataclass
class Arm:
    """aliases: other names of the same model."""

    name: str
    model: Model
    aliases: list[str] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """The name as a folder's: uniform_local for uniform:local."""
        return re.sub(r"[^\w.-]", "_", self.name)

    @property
    def uniform(self) -> str | None:
        """The block of a uniform architecture, under whatever name; None of other arms."""
        names = [name for name in (self.name, *self.aliases) if name.startswith(UNIFORM)]
        return names[0].removeprefix(UNIFORM) if names else None


class Arms:
    """The arms by name, in order. A model that is there already only adds its name to the earlier arm's aliases."""

    def __init__(self) -> None:
        self.by_name: dict[str, Arm] = {}

    def add(self, named: Iterable[tuple[str, Model]]) -> list[str]:
        """The names of the arms that are new."""
        new = []
        for name, model in named:
            model = replace(model, name=name)
            same = next((arm for arm in self.by_name.values() if _alike(arm.model, model)), None)
            if same is not None:
                same.aliases.append(name)
                continue
            self.by_name[name] = Arm(name, model)
            new.append(name)
        return new

    def uniforms(self) -> dict[str, str]:
        """{block: its arm}, no exchange included."""
        blocks = {arm.uniform: arm.name for arm in self.by_name.values() if arm.uniform is not None}
        return {"none": NONE, **{block: name for block, name in blocks.items() if block is not None}}


def _alike(one: Model, other: Model) -> bool:
    return (one.architecture, one.own_features) == (other.architecture, other.own_features)


def first_arms(
    space: SearchSpace, search: SearchRun, seed: int, random: int, wanted: Sequence[str] | None = None
) -> list[tuple[str, Model]]:
    """The arms that are known from the start; the first of equal ones gives the name.

    wanted: those beside no exchange and what was found, by name or by kind, which is what stands before a colon; None
    for all. Raises InputError for names that this race does not have, and if nothing is left to compare.
    """
    named = [(NONE, baseline("uniform:none", space, seed)), (FOUND, Model(FOUND, search.architecture))]
    blocks = [block for block in space.blocks if block != "none"]
    named += [(f"{UNIFORM}{block}", baseline(f"{UNIFORM}{block}", space, seed)) for block in blocks]
    smaller = _ablation(search)
    if smaller is not None:
        named.append((ABLATION, Model(ABLATION, smaller)))
    if search.likeliest is not None:
        named.append((SUPERNET, Model(SUPERNET, search.likeliest)))
    for number in range(random):
        named.append((f"random:{number}", Model("random", Architecture.random(space, seed + number))))
    return named if wanted is None else _only(named, wanted, [BEST_ROWS, OWN, *(f"{OWN}:{block}" for block in blocks)])


def _only(named: list[tuple[str, Model]], wanted: Sequence[str], later: Sequence[str]) -> list[tuple[str, Model]]:
    """The first two, and of the others those that are wanted; raises InputError as `first_arms`.

    later: the arms that follow from the uniform ones.
    """
    known = [*(name for name, _ in named), *later]
    for name in wanted:
        if name in OF_SEARCH and name not in known:
            raise InputError(f"race.arms: {name} is no arm of this race, since the search gives none; expected others")
        if name not in {*known, *map(_kind, known)}:
            raise unknown("arm in race.arms", name, known)
        if name in later and UNIFORM[:-1] not in map(_kind, wanted):
            raise InputError(f"race.arms: {name} follows from uniform arms: expected uniform, or some of them, too")
    kept = named[:2] + [(name, model) for name, model in named[2:] if _wanted(name, wanted)]
    if all(_alike(model, kept[0][1]) for _, model in kept):
        raise InputError("race.arms: the search found no exchange, so that nothing is left to compare; name other arms")
    return kept


def _kind(name: str) -> str:
    return name.partition(":")[0]


def _wanted(name: str, wanted: Sequence[str] | None) -> bool:
    return wanted is None or name in wanted or _kind(name) in wanted


def _ablation(search: SearchRun) -> Architecture | None:
    """The found architecture without the less sure half of its exchanges, rounded down.

    None where it has fewer than two, or where the search gives them no probability.
    """
    found = search.architecture
    exchanges = [pair for pair, block in found.exchanges.items() if block != "none"]
    if len(exchanges) < 2 or any(pair not in search.probability for pair in exchanges):
        return None
    dropped = sorted(exchanges, key=lambda pair: search.probability[pair])[: len(exchanges) // 2]
    return replace(found, exchanges=found.exchanges | dict.fromkeys(dropped, "none"), provenance={"source": ABLATION})


def second_arms(
    space: SearchSpace,
    arms: Arms,
    scores: Mapping[str, Mapping[str, float]],
    seed: int,
    wanted: Sequence[str] | None = None,
) -> list[tuple[str, Model]]:
    """The arms that rest on the uniform ones' first round.

    scores: {arm: {task: mean log of its primary metric on validation, more is better}}, of those that did not diverge.
    wanted: see `first_arms`.
    """
    uniforms = {block: arm for block, arm in arms.uniforms().items() if arm in scores}
    blocks = [block for block in uniforms if block != "none"]
    if not blocks:
        return []
    best = max(blocks, key=lambda block: sum(scores[uniforms[block]].values()))
    named = [
        (BEST_ROWS, Model(BEST_ROWS, best_rows(space, uniforms, scores))),
        (f"{OWN}:{best}", baseline(f"{OWN}:{best}", space, seed)),
    ]
    return [(name, model) for name, model in named if _wanted(name, wanted)]


def best_rows(
    space: SearchSpace, uniforms: Mapping[str, str], scores: Mapping[str, Mapping[str, float]]
) -> Architecture:
    """Each target's row from the uniform network that was best on that target."""
    exchanges: dict[Pair, str] = {}
    rule = space.normalize_messages
    for target in space.places:
        best = max(uniforms, key=lambda block: scores[uniforms[block]][task_of(target)])
        row = Architecture.uniform(space.tasks, best, space.aggregator, rule, space.scales).exchanges
        exchanges |= {pair: block for pair, block in row.items() if pair[0] == target}
    return Architecture.from_space(space, exchanges, {"source": "best_rows", "space": space.name})


def identities(arms: Sequence[Arm]) -> dict[str, object]:
    """{name: what determines the model}, to notice that a race goes on with others."""
    return {arm.name: arm.model.identity() for arm in arms}
