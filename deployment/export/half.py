"""What half precision cannot hold: numbers beyond 65,504."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from experiment.errors import InputError

LARGEST = torch.finfo(torch.float16).max


class _Watch(TorchDispatchMode):
    """Looks at every result in half precision; the first that is infinite is computed again in full precision."""

    def __init__(self) -> None:
        super().__init__()
        self.within: list[str] = []  # the modules that are running
        self.largest, self.place = 0.0, ""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        for one in tree_leaves(result):
            if not isinstance(one, Tensor) or one.dtype != torch.float16 or not one.numel():
                continue
            size = float(one.abs().max())
            if not size <= LARGEST and all(bool(g.isfinite().all()) for g in given if g.is_floating_point()):
                full = function(*tree_map(_full, args), **tree_map(_full, kwargs))
                size = max(float(f.abs().max()) for f in tree_leaves(full) if isinstance(f, Tensor))
                raise InputError(
                    f"--fp16: {self.within[-1]} reaches {size:.4g}: expected at most {LARGEST:.0f}, the largest number "
                    "of fp16; export in fp32"
                )
            if size > self.largest and size <= LARGEST:
                self.largest, self.place = size, self.within[-1]
        return result


def _full(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.float16:
        return value.float()
    return torch.float32 if value is torch.float16 else value


def check_range(module: nn.Module, inputs: Sequence[Sequence[Tensor]]) -> str:
    """The layer with the largest activation, and how large it is, of a module in half precision on these inputs.

    Raises InputError for the first layer that leaves fp16's range, and for a weight that does.
    """
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if not value.isfinite().all():
            raise InputError(f"--fp16: the weight {name} is beyond {LARGEST:.0f}: expected to export in fp32")
    watch = _Watch()
    with _named(module, watch.within), torch.no_grad():
        for one in inputs:
            module(*one)  # what is made once, such as masks, is made
            with watch:
                module(*one)
    return f"largest activation {watch.largest:.4g} of {LARGEST:.0f}, in {watch.place}"


@contextmanager
def _named(module: nn.Module, within: list[str]) -> Iterator[None]:
    """While open, `within` holds the names of the modules that are running."""
    names: Mapping[nn.Module, str] = {part: name or "network" for name, part in module.named_modules()}
    hooks = []
    for part, name in names.items():
        hooks.append(part.register_forward_pre_hook(lambda *_, name=name: within.append(name)))
        hooks.append(part.register_forward_hook(lambda *_: (within.pop(), None)[1]))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
