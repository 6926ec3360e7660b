"""What a network costs."""

import copy
import os
import resource
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

MEMORY = Path("/proc/meminfo")  # of Linux


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, height: int, width: int, elementwise: bool = False) -> int:
    """Of one image, in convolutions and matrix products.

    elementwise: also one for each element of a bias and of a ReLU and two for each of a batch norm, as in Table 1 of
        Bruggemann et al., ATRC, ICCV 2021.

    Counted on the meta device, where each operation is one: on a CPU the counter misses scaled_dot_product_attention.
    """
    twin = copy.deepcopy(network).to("meta").eval()
    return operations(twin, torch.empty(1, 3, height, width, device="meta"), elementwise=elementwise)


def operations(call: Callable[..., object], *inputs: Any, elementwise: bool = False) -> int:
    """The multiply-adds of a call, as `multiply_adds` counts them; modules and inputs on the meta device."""
    formulas = ELEMENTWISE if elementwise else {}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        call(*inputs)
    return counter.get_total_flops() // 2


def _flops(each: int) -> Callable[..., int]:
    """The counter's unit is half a multiply-add."""
    return lambda shape, *_, **__: 2 * each * prod(shape)


def _convolution_flops(
    maps: Sequence[int], weight: Sequence[int], bias: Sequence[int] | None, stride: Any, padding: Any, dilation: Any,
    transposed: bool, *_: Any, out_shape: Sequence[int], **__: Any,
) -> int:  # fmt: skip
    added = 0 if bias is None else 2 * prod(out_shape)
    return conv_flop_count(list(maps), list(weight), list(out_shape), transposed=transposed) + added


_aten = torch.ops.aten
ELEMENTWISE = {
    _aten.convolution: _convolution_flops,
    _aten._native_batch_norm_legit_no_training: _flops(2),
    _aten.relu: _flops(1),
    _aten.relu_: _flops(1),
}


def step_memory(network: nn.Module, batch_size: int, height: int, width: int) -> int:
    """Bytes that a training step needs, about: what the backward pass keeps, the outputs, their losses and gradients,
    the weights, their gradients and the two moments of Adam. Counted on the meta device, in fp32.
    """
    twin = copy.deepcopy(network).to("meta").train()
    image = torch.empty(batch_size, 3, height, width, device="meta")
    weights = sum(parameter.nbytes for parameter in twin.parameters())
    known = {parameter.untyped_storage()._cdata for parameter in twin.parameters()}
    kept: dict[int, Tensor] = {}  # storages by their address; holding them keeps addresses from being used again

    def keep(saved: Tensor) -> Tensor:
        kept.setdefault(saved.untyped_storage()._cdata, saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        outputs = twin(image)
    activations = sum(saved.untyped_storage().nbytes() for key, saved in kept.items() if key not in known)
    early = [output for one in outputs.early for output in one.predictions.values()]
    maps = sum(output.nbytes for output in [*outputs.predictions.values(), *outputs.auxiliary.values(), *early])
    return activations + 3 * maps + 4 * weights


def free_memory(device: torch.device) -> int:
    """Bytes that are free now, on the GPU or on this machine. What torch holds back of freed tensors, and what the
    system keeps of files, counts as free.
    """
    if device.type == "cuda":
        held_back = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held_back
    if MEMORY.is_file():
        line = next(line for line in MEMORY.read_text(encoding="utf-8").splitlines() if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def reset_peak_memory(device: torch.device) -> None:
    """Starts the GPU's count anew; a process's own peak cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocations where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
