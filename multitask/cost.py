"""What a network costs."""

import copy
import resource

import torch
from torch import nn
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


def reset_peak_memory(device: torch.device) -> None:
    """Starts the GPU's count anew; a process's own peak cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocations where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
