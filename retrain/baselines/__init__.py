"""The baselines: networks beside which a chosen architecture counts.

To add one: a file with a subclass of `Baseline` (base.py) and a line in `BASELINES`. A baseline gives the `Model` that
is trained; `retrain.testing.check_baseline` checks what every baseline must hold.
"""

from experiment.errors import unknown
from retrain.baselines.architectures import Own, Random, Uniform
from retrain.baselines.base import Baseline
from retrain.baselines.published import PUBLISHED
from retrain.baselines.without_exchange import Branching, MultiTask, SingleTask
from retrain.model import Model
from search_spaces import SearchSpace

KINDS: list[type[Baseline]] = [SingleTask, MultiTask, Branching, Uniform, Own, Random, *PUBLISHED]
BASELINES: dict[str, type[Baseline]] = {kind.name: kind for kind in KINDS}


def baseline(name: str, space: SearchSpace, seed: int) -> Model:
    """The model of a baseline's name, such as multi_task or uniform:global.

    Raises InputError for an unknown name and SpaceError for an unknown block.
    """
    key, colon, argument = name.partition(":")
    kind = BASELINES.get(key)
    if kind is None or bool(argument) != bool(kind.arguments(space)) or bool(colon) != bool(argument):
        raise unknown("baseline", name, names(space))
    return kind().model(space, seed, argument)


def names(space: SearchSpace) -> list[str]:
    """All names that `baseline` takes in this space; blocks outside it by import path come on top."""
    listed = []
    for name, kind in BASELINES.items():
        arguments = kind.arguments(space)
        listed += [f"{name}:{argument}" for argument in arguments] if arguments else [name]
    return listed
