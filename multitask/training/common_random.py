"""Common random numbers: for one seed, all networks see the same augmentation and dropout masks at each step.

Differences between networks of one seed then come from the networks alone. Every draw follows from the seed, the step
and the name of what draws, never from what was drawn before, so nothing has to be saved to resume.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from experiment.seeds import derive_seed

DROPPING = ("DropPath", "StochasticDepth", "DropBlock2d")  # classes of timm and torchvision, beside nn.Dropout*


class CommonRandomNumbers:
    """Seeds the generator of the augmentation, and torch's global one before each dropout-like module draws."""

    def __init__(self, seed: int, augmentation: torch.Generator):
        self.seed, self.augmentation = seed, augmentation
        self.augmentation.manual_seed(derive_seed(seed, "augmentation", 0))
        self.step = 0
        self._calls: dict[str, dict[int, int]] = {}  # of each module in this step: {seed before: number}

    def begin_step(self, step: int) -> None:
        self.step = step
        self._calls.clear()
        self.augmentation.manual_seed(derive_seed(self.seed, "augmentation", step))
        torch.manual_seed(derive_seed(self.seed, "step", step))  # for what draws without a module, as fused attention

    @contextmanager
    def dropout_of(self, network: nn.Module) -> Iterator[None]:
        """While open, each dropout-like module of the network draws from a seed of its own at each of its calls."""
        hooks = [
            module.register_forward_pre_hook(partial(self._reseed, name))
            for name, module in network.named_modules()
            if drops(module)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _reseed(self, name: str, module: nn.Module, inputs: Any) -> None:
        if not module.training:
            return
        # Gradient checkpointing repeats a call in the backward pass, with the generator as it was before the call. Its
        # seed then, which no two calls of a step share, identifies the repeated call, whose mask must be the same.
        calls = self._calls.setdefault(name, {})
        call = calls.setdefault(torch.initial_seed(), len(calls))
        torch.manual_seed(derive_seed(self.seed, "dropout", self.step, name, call))


def drops(module: nn.Module) -> bool:
    """Whether the module draws a mask in training."""
    return isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ in DROPPING
