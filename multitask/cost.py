"""What a network costs."""

import copy
import os
import resource

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, height: int, width: int) -> int:
    """Of one image, convolutions and matrix products only.

    Counted on the meta device: on a CPU the counter misses scaled_dot_product_attention.
    """
    twin = copy.deepcopy(network).to("meta").eval()
    image = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        twin(image)
    return counter.get_total_flops() // 2


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
    maps = sum(output.nbytes for output in [*outputs.predictions.values(), *outputs.auxiliary.values()])
    return activations + 3 * maps + 4 * weights


def free_memory(device: torch.device) -> int:
    """Bytes that are free now, on the GPU or on this machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
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
