"""Common random numbers: for one seed, all networks see the same augmentation and dropout masks at each step.

Differences between networks of one seed then come from the networks alone. Every draw follows from the seed, the step
and the name of what draws, never from what was drawn before, so nothing has to be saved to resume.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiment.seeds import derive_seed
from multitask.processes import Share, count, shares_batches

Forward = Callable[[Tensor], Tensor]

DROPPING = ("DropPath", "StochasticDepth", "DropBlock2d")  # classes of timm and torchvision, beside nn.Dropout*


class CommonRandomNumbers:
    """Seeds the generator of the augmentation, and torch's global one before each dropout-like module draws."""

    def __init__(self, seed: int, augmentation: torch.Generator, share: Share | None = None):
        self.seed, self.augmentation, self.share = seed, augmentation, share
        self.augmentation.manual_seed(derive_seed(seed, "augmentation", 0))
        self.step = 0
        self._calls: dict[str, dict[int, int]] = {}  # of each module in this step: {seed before: number}

    def begin_step(self, step: int) -> None:
        self.step = step
        self._calls.clear()
        self.augmentation.manual_seed(derive_seed(self.seed, "augmentation", step))
        torch.manual_seed(derive_seed(self.seed, "step", step))  # for what draws without a module, as fused attention

    @contextmanager
    def dropout_of(self, network: nn.Module, compiled: bool = False) -> Iterator[None]:
        """While open, each dropout-like module of the network draws from a seed of its own at each of its calls; of
        several processes, the masks of the whole batch.

        compiled: of a network whose forward pass is traced. Its graph calls `dropout_mask` by the module's name.
        """
        dropping = {name: module for name, module in network.named_modules() if drops(module)}
        if compiled:
            for name, module in dropping.items():
                _draws[name] = partial(self._draw, name, module, module.forward)
                module.forward = partial(_masked, module, name)
            try:
                yield
            finally:
                for name, module in dropping.items():
                    del module.__dict__["forward"], _draws[name]
            return
        hooks = [module.register_forward_pre_hook(partial(self._reseed, name)) for name, module in dropping.items()]
        if self.share is not None and count() > 1:
            for module in dropping.values():
                module.forward = partial(self._of_whole_batch, module, self.share, module.forward)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for module in dropping.values():
                module.__dict__.pop("forward", None)

    def _reseed(self, name: str, module: nn.Module, inputs: Any) -> None:
        if not module.training:
            return
        # Gradient checkpointing repeats a call in the backward pass, with the generator as it was before the call. Its
        # seed then, which no two calls of a step share, identifies the repeated call, whose mask must be the same.
        calls = self._calls.setdefault(name, {})
        call = calls.setdefault(torch.initial_seed(), len(calls))
        torch.manual_seed(derive_seed(self.seed, "dropout", self.step, name, call))

    def _draw(self, name: str, module: nn.Module, forward: Forward, maps: Tensor) -> Tensor:
        self._reseed(name, module, maps)
        return forward(maps.new_ones(maps.shape))

    def _of_whole_batch(self, module: nn.Module, share: Share, forward: Forward, maps: Tensor) -> Tensor:
        """What a module that drops gives for this process's images, with the draws of the whole batch."""
        per_image, rest = divmod(len(maps), share.last - share.first)
        # the first dimension counts images, or windows of images; otherwise every process draws for itself
        if rest or not module.training or not shares_batches():
            return forward(maps)
        before, after = share.first * per_image, (share.total - share.last) * per_image
        whole = torch.cat([maps.new_zeros(before, *maps.shape[1:]), maps, maps.new_zeros(after, *maps.shape[1:])])
        return forward(whole)[before : before + len(maps)]


def drops(module: nn.Module) -> bool:
    """Whether the module draws a mask in training."""
    return isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ in DROPPING


_draws: dict[str, Forward] = {}  # {module: what draws its mask}


@torch.library.custom_op("crosstalk::dropout_mask", mutates_args=())
def dropout_mask(maps: Tensor, name: str) -> Tensor:
    """What a dropout-like module of the training that is open makes of ones; opaque to a compiler, which would draw
    other numbers than torch's generator.
    """
    return _draws[name](maps)


@dropout_mask.register_fake
def _(maps: Tensor, name: str) -> Tensor:
    return maps.new_empty(maps.shape)


def _masked(module: nn.Module, name: str, maps: Tensor) -> Tensor:
    return maps * dropout_mask(maps.detach(), name) if module.training else maps
