"""The networks that papers compare: a module in the exchange's place, or a decoder of their own, or both."""

from collections.abc import Sequence
from typing import ClassVar

from retrain.baselines.base import Baseline
from retrain.model import Model
from retrain.refinements import REFINEMENTS
from search_spaces import SearchSpace


class Refined(Baseline):
    """The configured network with one of `REFINEMENTS` in the exchange's place."""

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        return Model(self.name, refinement=self.name)


REFINED: list[type[Baseline]] = [
    type(name, (Refined,), {"name": name, "__doc__": kind.__doc__})
    for name, kind in REFINEMENTS.items()
    if name != "self_attention"  # of distillation, which has decoders of its own
]


class Branching(Baseline):
    """A DeepLabV3+ decoder; see multitask/decoders/deeplab.py."""

    decoder: ClassVar[str]
    refinement: ClassVar[str | None] = None

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        return Model(self.name, decoder=self.decoder, refinement=self.refinement)


class Joint(Branching):
    """All tasks share the ASPP and decoder."""

    name, decoder = "joint", "deeplab_joint"


class Branched(Branching):
    """Every task has an ASPP and decoder of its own."""

    name, decoder = "branched", "deeplab_branched"


class Distillation(Branching):
    """Branched decoders that predict twice, and gated features of the other tasks between; see network.source_only."""

    name, decoder, refinement = "distillation", "distillation", "self_attention"


class Mtan(Branching):
    """Attention of every task to the shared encoder's maps; see multitask/decoders/mtan.py."""

    name, decoder = "mtan", "mtan"


class MtiNet(Baseline):
    """mti_net:fixed as the paper says, mti_net:faithful as the published code; see multitask/decoders/mti_net.py."""

    name = "mti_net"

    @classmethod
    def arguments(cls, space: SearchSpace) -> Sequence[str]:
        return ("faithful", "fixed")

    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        decoder = "mti_net" if argument == "fixed" else "mti_net_faithful"
        return Model(f"{self.name}:{argument}", decoder=decoder)


PUBLISHED: list[type[Baseline]] = [*REFINED, Joint, Branched, Distillation, Mtan, MtiNet]
