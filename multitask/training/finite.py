"""Numbers that are not finite: noticed without waiting for the device, and traced to the first tensor at fault."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from experiment.errors import InputError

NEVER = 2**62  # a step that does not come


class Diverged(InputError):
    """A loss, a gradient, a weight or a prediction is not finite."""

    def __init__(self, problem: str):
        self.problem = problem.replace("_forward_module.", "")  # of Fabric, which wraps the network
        super().__init__(f"{self.problem}; expected finite numbers; try a lower training.learning_rate")


class FirstFaults:
    """The first step at which each value was not finite, kept on the device."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, ...], Tensor] = {}  # {names: (names,)}

    def note(self, step: int, values: Mapping[str, Tensor]) -> None:
        """values: scalars by their names."""
        names = tuple(values)
        finite = torch.stack([value.detach().float() for value in values.values()]).isfinite()
        former = self._steps.get(names)
        former = torch.full_like(finite, NEVER, dtype=torch.int64) if former is None else former
        self._steps[names] = torch.where(finite | (former < NEVER), former, step)

    def first(self) -> tuple[int, list[str]] | None:
        """The first step with a fault, and what was not finite then. Waits for the device."""
        if not self._steps:
            return None
        found: dict[int, list[str]] = {}
        names = [name for group in self._steps for name in group]
        for name, step in zip(names, torch.cat(list(self._steps.values())).tolist(), strict=True):
            found.setdefault(step, []).append(name)
        step = min(found, default=NEVER)
        return None if step == NEVER else (step, found[step])


def tensors_of(content: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of floating-point numbers in nested containers, with dotted names."""
    if isinstance(content, Tensor):
        if content.is_floating_point() and content.numel():
            yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from tensors_of(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, list | tuple):
        for i, value in enumerate(content):
            yield from tensors_of(value, f"{name}.{i}" if name else str(i))
    elif is_dataclass(content) and not isinstance(content, type):
        yield from tensors_of({field.name: getattr(content, field.name) for field in fields(content)}, name)


def first_not_finite(content: Any) -> str | None:
    """The name of the first tensor of a nested content that is not finite. Waits for each device once."""
    named = dict(tensors_of(content))
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in named.values():
        by_device.setdefault(tensor.device, []).append(tensor)
    if all(bool(get_total_norm(tensors, math.inf).isfinite()) for tensors in by_device.values()):
        return None
    return next((name for name, tensor in named.items() if not bool(tensor.isfinite().all())), None)


def trace(network: nn.Module, forward: Callable[[], object]) -> str:
    """The first tensor at fault: a weight, what a module returns in a forward pass, a gradient, or a statistic."""
    weights = dict(network.named_parameters())
    found = first_not_finite(weights)
    if found is not None:
        return found
    output = _first_output(network, forward)
    if output is not None:
        return output
    gradients = {f"gradient of {name}": p.grad for name, p in weights.items() if p.grad is not None}
    return first_not_finite(gradients) or first_not_finite(dict(network.named_buffers())) or "none but these"


def _first_output(network: nn.Module, forward: Callable[[], object]) -> str | None:
    found: list[str] = []

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and first_not_finite(output) is not None:
            found.append(f"output of {name or 'the network'}")

    hooks = [module.register_forward_hook(partial(look, name)) for name, module in network.named_modules()]
    try:
        with torch.no_grad():
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None
