"""What a training step takes, counted without computing anything: bytes held, kept for the backward pass, and moved.

The step runs on the meta device, with the forms that blocks and resizing take on the device that it is counted for. A
dispatch mode sees every call, and storages come and go as in the real step. Not seen: what libraries allocate inside a
call, and what the allocator loses between its blocks of memory.
"""

import copy
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from multitask import resizing
from multitask.determinism import any_algorithms
from multitask.network import Outputs
from multitask.tasks import Task

ROOT = Path(__file__).parents[2]
GRAIN = 512  # bytes: what the CUDA allocator rounds up to
# of autocast's lists for GPUs, by the names of functions and methods
IN_HALF = {"conv2d", "conv_transpose2d", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum"}
IN_HALF |= {"scaled_dot_product_attention"}
IN_FULL = {"softmax", "log_softmax", "softplus", "exp", "log", "pow", "norm", "cross_entropy", "layer_norm", "sum"}
IN_FULL |= {"normalize", "cumsum", "reciprocal", "group_norm", "binary_cross_entropy_with_logits"}


@dataclass(frozen=True)
class StepCost:
    """Bytes. state: weights, their gradients and the optimizer's moments; kept: what is held at the end of the forward
    pass for the backward one; peak: the most that is held at once, state included; moved: what all calls read and
    write; places: {"file:line": bytes kept that were made there}.
    """

    state: int
    kept: int
    peak: int
    moved: int
    places: Counter[str] = field(default_factory=Counter)


class Counted(TorchDispatchMode):
    """Counts the bytes of storages that calls make while it is open. known: tensors that do not count; blame: whether
    to note where storages were made.
    """

    def __init__(self, known: Sequence[Any] = (), blame: bool = False):
        super().__init__()
        self.blame = blame
        self.live = self.peak = self.moved = 0
        self.held: dict[int, tuple[int, str]] = {}  # {number of a storage: its bytes, where it was made}
        self._known = weakref.WeakKeyDictionary[Any, int]()
        self._count = 0
        for tensor in known:
            if isinstance(tensor, Tensor):
                self._known[tensor.untyped_storage()] = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = _storages((args, kwargs))
        out = func(*args, **kwargs)
        written = _storages(out)
        if func._schema.is_mutable or any(key not in read for key in written):  # no view
            self.moved += sum(x.nbytes for x in read.values()) + sum(x.nbytes for x in written.values())
        for tensor in written.values():
            self.add(tensor)
        return out

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._count += 1
        number, size = self._count, -(-storage.nbytes() // GRAIN) * GRAIN
        self._known[storage] = number
        weakref.finalize(storage, self._freed, number)
        self.held[number] = (size, _line() if self.blame else "")
        self.live += size
        self.peak = max(self.peak, self.live)

    def _freed(self, number: int) -> None:
        self.live -= self.held.pop(number)[0]

    def places(self) -> Counter[str]:
        by_line: Counter[str] = Counter()
        for size, place in self.held.values():
            by_line[place] += size
        return by_line


def _storages(content: Any) -> dict[int, Tensor]:
    tensors = [leaf for leaf in tree_leaves(content) if isinstance(leaf, Tensor)]
    return {tensor.untyped_storage()._cdata: tensor for tensor in tensors}


def _line() -> str:
    """The innermost line of this project, and the one above it that belongs to another file."""
    frame, found = sys._getframe(2), list[str]()
    while frame is not None and len(found) < 2:
        name = frame.f_code.co_filename
        inside = name.startswith(str(ROOT)) and "site-packages" not in name and name != __file__
        if inside and not (found and found[0].startswith(Path(name).name)):
            found.append(f"{Path(name).name}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(found)


class MetaAutocast(TorchFunctionMode):
    """bf16 autocast of tensors on the meta device, which torch's own leaves alone: the calls that networks here make of
    those in its lists for GPUs. Inside torch.autocast(..., enabled=False) it does nothing.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cpu"):
            name = getattr(func, "__name__", "").strip("_")
            if name in IN_HALF or name in IN_FULL:
                dtype = torch.bfloat16 if name in IN_HALF else torch.float32
                args, kwargs = tree_map(lambda x: _cast(x, dtype), (args, kwargs))
        return func(*args, **kwargs)


def _cast(x: Any, dtype: torch.dtype) -> Any:
    narrow = isinstance(x, Tensor) and x.dtype in (torch.float32, torch.bfloat16) and x.dtype != dtype
    return x.to(dtype) if narrow else x


@contextmanager
def on_meta(kind: str, precision: str) -> Iterator[None]:
    """What is computed on the meta device takes the forms of a type of device, in its precision."""
    with ExitStack() as stack:
        stack.enter_context(resizing.counting_for(kind))
        stack.enter_context(any_algorithms())  # deterministic ones have other forms there, which no CPU uses
        if precision == "bf16":
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(MetaAutocast())
        yield


def count_step(
    twin: nn.Module,
    loss: Callable[[Any], Tensor],
    inputs: Sequence[Any],
    kind: str = "cpu",
    precision: str = "fp32",
    moments: int = 2,
    beside: Sequence[nn.Module] = (),
    blame: bool = False,
) -> StepCost:
    """A step of a network, or of its copy, that lies on the meta device; `loss` makes a scalar of what it returns.

    moments: tensors per weight that the optimizer keeps, 2 for Adam, 1 for SGD with momentum; beside: modules that the
    network uses without owning them, on the meta device too.
    """
    held = {id(t): t for module in (twin, *beside) for t in (*module.parameters(), *module.buffers())}
    state = sum(tensor.nbytes for tensor in held.values())
    trained = sum(parameter.nbytes for parameter in twin.parameters() if parameter.requires_grad)
    given = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    known = [*held.values(), *given]
    with on_meta(kind, precision), Counted(known, blame) as counted:
        total = loss(twin(*inputs))
        kept, places = counted.live, counted.places() if blame else Counter[str]()
        total.backward()  # type: ignore[no-untyped-call]
        del total
    peak = state + sum(tensor.nbytes for tensor in given) + moments * trained + counted.peak
    return StepCost(state + (1 + moments) * trained, kept, peak, counted.moved, places)


def meta_inputs(batch_size: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) and their validity (B, 1, H, W)."""
    image = torch.empty(batch_size, 3, height, width, device="meta")
    return image, torch.ones(batch_size, 1, height, width, dtype=torch.bool, device="meta")


def task_losses(tasks: Mapping[str, Task], auxiliary_weight: float = 1.0) -> Callable[[Outputs], Tensor]:
    """The sum of all tasks' losses of a network's outputs, with labels of zeros."""
    tasks = copy.deepcopy(dict(tasks))  # what a task keeps on the device stays where it is

    def loss(outputs: Outputs) -> Tensor:
        losses = []
        for name, task in tasks.items():
            count, _, height, width = outputs.predictions[name].shape
            device = outputs.predictions[name].device
            label = torch.zeros(count, task.label_channels, height, width, device=device)
            mask = torch.ones(count, 1, height, width, dtype=torch.bool, device=device)
            losses.append(task.loss(outputs.predictions[name], label, mask))
            if name in outputs.auxiliary:
                losses.append(auxiliary_weight * task.region_loss(outputs.auxiliary[name], label, mask))
        return torch.stack(losses).sum()

    return loss
