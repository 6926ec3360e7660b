"""A pretended GPU for machines without one: all runs on the CPU with real values, but tensors report the device
cuda:0, a CPU tensor that meets one is noted as a mismatch, and so is each place where the host would wait for the GPU.

    with PretendedGpu() as gpu:
        ...                      # with device "cuda"; Fabric(accelerator="cuda") works too
    gpu.waits, gpu.mismatches    # Counter {(what, "file.py:line"): times}

A tensor "on cuda" is a wrapper (CudaTensor) around a CPU tensor. A dispatch mode sees every call below autograd, checks
devices, runs the CPU kernel and wraps the results. autograd asks a device for its guard and its streams, which a torch
without CUDA lacks. To C++ the tensors are therefore on PrivateUse1, for which torch offers these in Python (an
experimental interface: see TRIED), and on cuda:0 to Python.

It shows no kernel's own errors, precision, asynchronous order, pinned memory, use of memory, or speed. There is no
autocast and so no bf16. One process cannot leave it again as it was: use a process of its own (tests/support/gpu_run).
"""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.optim.optimizer as optimizers
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from tests.support.cuda_rules import COPIES, INDEXING, READS, SCATTERS, SLOWER, TAKES_SCALARS, UNDETERMINED, answers

TRIED = ("2.14",)  # versions of torch with which this was tried
UNTRIED = f"the pretended GPU was tried with torch {', '.join(TRIED)} only"
CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
BACKEND = "pretended"  # what PrivateUse1 is called
SITE, LIBRARY = os.sep + "site-packages" + os.sep, os.path.dirname(os.__file__)


def tried() -> bool:
    return torch.__version__.startswith(tuple(f"{version}." for version in TRIED))


class CudaTensor(torch.Tensor):
    """Reports cuda:0, and holds a CPU tensor."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, real):
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            layout=real.layout,
            device=f"{BACKEND}:0",
            requires_grad=False,
        )
        self.held = real
        return self

    def __init__(self, real):
        pass

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return PretendedGpu.current.run(func, args, kwargs or {})

    def __reduce_ex__(self, protocol):  # in a checkpoint it is a CPU tensor, as after map_location="cpu"
        PretendedGpu.current.wait("save")
        return self.held.detach().__reduce_ex__(protocol)

    def __repr__(self, **_):
        return f"CudaTensor({tuple(self.shape)}, {self.dtype})"


class _Devices(TorchFunctionMode):
    """Who asks for cuda gets the device that C++ knows; what C++ refuses for wrappers is done here."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.tolist and isinstance(args[0], CudaTensor):
            return args[0].cpu().tolist()
        if func is torch.Tensor.pin_memory:
            pinned = args[0].clone()
            pinned.pinned = True
            return pinned
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[0], CudaTensor):
            many = isinstance(args[1], tuple)  # C++ would make a tensor of a list by itself
            index = tuple(torch.tensor(i) if isinstance(i, list) else i for i in (args[1] if many else (args[1],)))
            args = (args[0], index if many else index[0], *args[2:])
        if func in (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor):  # made here, then sent
            device = _known(kwargs.get("device", args[0].device if func is torch.Tensor.new_tensor else None))
            if device is not None and torch.device(device).type == BACKEND:
                return func(*args, **{**kwargs, "device": "cpu"}).to(device)
        if func is not torch.device:
            args = tuple(_known(x) if i < 3 else x for i, x in enumerate(args))
            if "device" in kwargs:
                kwargs = {**kwargs, "device": _known(kwargs["device"])}
        return func(*args, **kwargs)


class PretendedGpu(TorchDispatchMode):
    """watch: folders whose lines are blamed, by default all but torch and this file; strict: whether a mismatch raises;
    memory: bytes that the GPU pretends to have.
    """

    current: "PretendedGpu"

    def __init__(self, watch: tuple[str, ...] = (), strict: bool = True, memory: int = 80 << 30):
        super().__init__()
        self.watch = tuple(str(Path(one).resolve()) for one in watch)
        self.strict, self.memory = strict, memory
        self.waits: Counter[tuple[str, str]] = Counter()
        self.mismatches: Counter[tuple[str, str]] = Counter()
        self.undetermined: Counter[tuple[str, str]] = Counter()
        self.slower: Counter[tuple[str, str]] = Counter()
        self.calls = 0
        self.stack = contextlib.ExitStack()
        PretendedGpu.current = self

    @property
    def waited(self) -> int:
        return self.waits.total()

    def where(self) -> str:
        """The innermost line to blame, else the node of the backward pass."""
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            own = name == __file__ or name.startswith("<")
            if not own and (name.startswith(self.watch) if self.watch else not (SITE in name or LIBRARY in name)):
                return f"{name}:{frame.f_lineno}"
            frame = frame.f_back
        node = torch._C._current_autograd_node()
        return "?" if node is None else f"backward of {node.name()}"

    def wait(self, what: str) -> None:
        self.waits[what, self.where()] += 1

    def mismatch(self, what: str) -> None:
        self.mismatches[what, self.where()] += 1
        if self.strict:
            raise RuntimeError(f"pretended GPU: {what}, at {self.where()}")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})

    def run(self, func, args, kwargs):
        tensors = [*_tensors(args), *_tensors(kwargs.values())]
        on_cuda = [x for x in tensors if isinstance(x, CudaTensor)]
        target = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        arrives = target is not None and target.type in ("cuda", BACKEND)
        if not on_cuda and not arrives:
            return func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        self.calls += 1
        self._note(func, name, args, kwargs)
        if on_cuda and name not in COPIES:
            self._check(func, name, tensors, args)
        if name == "_fused_sdp_choice":
            return 0  # the math form
        leaves = bool(on_cuda) and name == "_to_copy" and target is not None and not arrives
        if leaves and target.type == "meta":
            given, dtype = args[0], kwargs.get("dtype") or args[0].dtype
            return torch.empty_strided(given.shape, given.stride(), dtype=dtype, device="meta")
        if leaves:
            self.wait("to cpu")  # also without blocking: the values are used next
        elif name == "_to_copy" and not on_cuda and tensors:
            if not kwargs.get("non_blocking"):
                self.wait("to cuda, blocking")
            elif not getattr(args[0], "pinned", False):
                self.wait("to cuda, not pinned")
        elif name == "copy_":
            to, source = args[:2]
            if isinstance(to, CudaTensor) != isinstance(source, CudaTensor) and not (len(args) > 2 and args[2]):
                self.wait("copy_ between devices, blocking")
            if not isinstance(to, CudaTensor):
                return to.copy_(source.held)
        if arrives or leaves:
            kwargs = {**kwargs, "device": CPU, **({"pin_memory": False} if "pin_memory" in kwargs else {})}
        out = func(*map(_held, args), **{key: _held(value) for key, value in kwargs.items()})
        if leaves or name in ("_local_scalar_dense", "equal", "is_nonzero", "is_pinned", "is_same_size"):
            return out
        written = _written(func, args, kwargs) if func._schema.is_mutable and name != "set_" else {}
        if isinstance(out, torch.Tensor):
            return written[id(out)] if id(out) in written else _wrapped(out)
        return tree_map(lambda x: written[id(x)] if id(x) in written else _wrapped(x), out)

    def _note(self, func, name, args, kwargs) -> None:
        """Waits and kernels that are not deterministic."""
        if name in UNDETERMINED:
            self.undetermined[name, self.where()] += 1
        if name in SLOWER and torch.are_deterministic_algorithms_enabled():
            self.slower[name, self.where()] += 1
            if name in SCATTERS and args[0].dim() > 1:
                self.wait(f"{name} in several dimensions")
        if func in READS:
            self.wait(READS[func])
        if name in INDEXING:
            indices = [i for i in args[1] if i is not None]
            if any(i.dtype in (torch.bool, torch.uint8) for i in indices):
                self.wait(f"{name} by a mask")
            if any(not isinstance(i, CudaTensor) and i.dim() for i in indices):
                self.wait(f"{name} by CPU indices")
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type == "cpu":
            self.mismatch(f"{name} with a generator of the CPU")

    def _check(self, func, name, tensors, args) -> None:
        strangers = [x for x in tensors if not isinstance(x, CudaTensor)]
        if name in INDEXING:  # indices may be on the CPU
            indices = {id(i) for i in args[1] if i is not None}
            strangers = [x for x in strangers if id(x) not in indices]
        pointwise = torch.Tag.pointwise in func.tags or name in TAKES_SCALARS or name.startswith(("_foreach", "_fused"))
        if strangers and not (pointwise and all(x.dim() == 0 for x in strangers)):
            kinds = (f"{'cuda' if isinstance(x, CudaTensor) else 'cpu'}{list(x.shape)}" for x in tensors)
            self.mismatch(f"{name}({', '.join(kinds)}): a CPU tensor meets a cuda one")

    def __enter__(self):
        _register()
        enter = self.stack.enter_context
        swap = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)  # module.to keeps the parameters, as on a GPU
        self.stack.callback(torch.__future__.set_swap_module_params_on_conversion, swap)
        optimizers._foreach_supported_types.append(CudaTensor)  # optimizers take their route over lists, as on a GPU
        self.stack.callback(optimizers._foreach_supported_types.remove, CudaTensor)
        for name, answer in answers(self.memory).items():
            enter(mock.patch.object(torch.cuda, name, _always(answer), create=True))
        import lightning_fabric.accelerators.cuda as fabric
        import lightning_fabric.strategies.launchers.multiprocessing  # noqa: F401  imports before patching

        for name, answer in {"num_cuda_devices": 1, "is_cuda_available": True}.items():
            enter(mock.patch.object(fabric, name, _always(answer)))
        for name in ("_check_cuda_matmul_precision", "_clear_cuda_memory"):
            enter(mock.patch.object(fabric, name, _always(None)))
        enter(_Devices())
        return super().__enter__()

    def __exit__(self, *error):
        result = super().__exit__(*error)
        self.stack.close()
        return result

    def report(self, root: str = "") -> Iterator[str]:
        """Lines: the calls, and what was noted where, most often first."""
        yield f"{self.calls} calls on cuda"
        for title in ("mismatches", "waits", "undetermined", "slower"):
            found: Counter[tuple[str, str]] = getattr(self, title)
            yield f"{title}: {found.total()}"
            for (what, place), times in found.most_common():
                yield f"  {times:5d}  {what:32s} {place.removeprefix(root)}"


def _known(device: Any) -> Any:
    named = isinstance(device, str) and device.split(":")[0] == "cuda"
    return torch.device(BACKEND, 0) if named or (isinstance(device, torch.device) and device.type == "cuda") else device


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """Those among arguments, and in lists of them; faster than torch's trees."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _held(value: Any) -> Any:
    if isinstance(value, CudaTensor):
        return value.held
    return type(value)(map(_held, value)) if type(value) in (list, tuple) else value


def _wrapped(out: Any) -> Any:
    own = isinstance(out, torch.Tensor) and not isinstance(out, CudaTensor) and out.device.type == "cpu"
    return CudaTensor(out) if own else out


def _written(func, args, kwargs) -> dict[int, CudaTensor]:
    """Of a call that writes: its arguments by the ids of what they hold, to be returned themselves."""
    values = []
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = kwargs.get(argument.name) if argument.kwarg_only or i >= len(args) else args[i]
            values += value if isinstance(value, list | tuple) else [value]
    return {id(x.held): x for x in values if isinstance(x, CudaTensor)}


def _always(answer: Any) -> Any:
    return lambda *_, **__: answer


_registered: list[bool] = []


def _register() -> None:
    """What torch asks of a device's C++ side, in its experimental Python form."""
    if not _registered:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

        _setup_privateuseone_for_python_backend(BACKEND)
        _registered.append(True)
