"""Samplers: which candidates of each pair a supernet computes in a step, and how much each counts.

A new one is a file here with a subclass of `Sampler`. A strategy makes it and gives it to the `Supernet`.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import nn

from search_spaces import SearchSpace
from supernet.draws import Draw


class Sampler(nn.Module):
    """Base. Random draws come from `generator`, on the CPU whatever the device, so that a seed means the same
    everywhere. The generator's state is part of the state dict.

    single_path: whether a step computes one candidate a pair only, which decides the memory that it takes.
    """

    single_path: bool = False
    saves: ClassVar[tuple[str, ...]] = ()  # attributes that a checkpoint keeps beside the generator's state

    def __init__(self, space: SearchSpace, generator: torch.Generator):
        super().__init__()
        self.space, self.generator = space, generator

    def draw(self) -> Draw:
        """The draw of a training step."""
        raise NotImplementedError(f"{type(self).__name__} defines no draw")

    def whole(self) -> Draw:
        """What the supernet computes in eval mode: no randomness."""
        raise NotImplementedError(f"{type(self).__name__} defines no whole")

    def get_extra_state(self) -> dict[str, Any]:
        kept = {name: deepcopy(getattr(self, name)) for name in self.saves}
        return {"generator": self.generator.get_state(), **kept}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        for name in self.saves:
            setattr(self, name, deepcopy(state[name]))
