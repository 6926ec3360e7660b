"""torch.compile for a training's steps: the whole forward pass as one graph, and its backward pass.

Validation and tests run the network as it is. So one graph is compiled, of one batch size, and a run reports what its
checkpoint gives.
"""

import os
import shutil
import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiment.errors import InputError
from multitask import processes

BACKEND = "inductor"


def check_compiling(device: torch.device, together: bool = True) -> None:
    """Raises InputError where `training.compile` cannot work: a compiler is missing, or all processes train a network
    together.
    """
    found = "training.compile is true, "
    if together and processes.count() > 1:
        raise InputError(f"{found}but {processes.count()} processes train one network: expected one, or false")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise InputError(f"{found}but there is no C++ compiler '{compiler}': expected g++ or another in CXX, or false")
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise InputError(f"{found}but torch finds no Triton for this GPU: expected the package triton, or false")
        print("training.compile was never tried on a GPU: compare a few steps' losses with those of false", flush=True)


def compile_forward(model: nn.Module, keep_buffers: bool = False) -> Any:
    """The model's forward pass, compiled at its first call; parameters and state dict stay the model's own.

    keep_buffers: whether the backward pass runs more than once.
    """
    unstride(model)
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")  # of constants
    if keep_buffers:
        torch._functorch.config.donated_buffer = False  # type: ignore[attr-defined]
    return torch.compile(model, fullgraph=True, dynamic=False, backend=BACKEND)


def unstride(model: nn.Module) -> None:
    """Lets 1x1 convolutions with strides read the sampled pixels with stride 1, which is the same.

    Compiled, they run channels last. There oneDNN's gradient of the weights writes past its buffer where fewer channels
    come in than a vector holds (oneDNN issue 6035): the heap is corrupted without compiling, too.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.padding in ((0, 0), "valid"):
            if module.stride == (1, 1):
                continue
            module.register_forward_pre_hook(partial(_sample, module.stride))
            module.stride = (1, 1)


def _sample(stride: tuple[int, ...], module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0][:, :, :: stride[0], :: stride[1]],)
