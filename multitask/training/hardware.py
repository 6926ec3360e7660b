"""Device and precision of a run."""

import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from experiment import processes
from experiment.config import DEVICES, PRECISIONS
from experiment.config.checks import one_of
from experiment.errors import InputError, one_line

TIMEOUT = timedelta(hours=1)  # of waiting for another process, which may evaluate something alone
FABRIC_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
NONE = ("no NVIDIA driver", "not compiled with CUDA", "No CUDA GPUs")  # torch's words for a machine without a GPU


@dataclass(frozen=True)
class Hardware:
    """Where and how a run computes."""

    device: str = "auto"
    precision: str = "fp32"

    def fabric(self) -> Fabric:
        """Lightning's Fabric for one device; of several processes, after they have met, for a device of each. Says so
        where a GPU is there and cannot be used.

        Raises InputError for an unknown name, a missing GPU, or fewer GPUs than processes.
        """
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, PRECISIONS)
        if self.device != "cpu" and not torch.cuda.is_available():
            reason = _why_no_gpu()
            if self.device == "cuda":
                raise InputError(f"device is cuda, but torch sees no GPU ({reason}): expected auto or cpu")
            if not any(words in reason for words in NONE):
                print(f"no GPU is used: {reason}")
        accelerator = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS may differ between runs
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a debugging aid that costs a tenth of a step
        # in bf16 torch prefers cuDNN's attention on Hopper and Blackwell; its backward pass has no fixed order
        torch.backends.cuda.enable_cudnn_sdp(False)
        # no lines about how processes meet, nor advice to change torch's precision (docs/log/performance.md)
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        precision: Any = FABRIC_PRECISIONS[self.precision]
        if processes.count() == 1:
            return Fabric(accelerator=accelerator, devices=1, precision=precision)
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        if accelerator == "cuda" and torch.cuda.device_count() < here:
            raise InputError(
                f"torchrun starts {here} processes here and torch sees {torch.cuda.device_count()} GPUs: expected one "
                "for each, or --device cpu"
            )
        fabric = Fabric(
            accelerator=accelerator,
            strategy=_Together(),
            devices=here,
            num_nodes=processes.count() // here,
            precision=precision,
        )
        fabric.launch()
        return fabric


def _why_no_gpu() -> str:
    """What torch says; of a driver that is too old it only warns elsewhere."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return one_line(error).split(". ")[0]
    return "torch does not say why"


class _Together(DDPStrategy):
    """Fabric's processes without the wrapper around modules, which refuses parameters without a gradient."""

    def __init__(self) -> None:
        # tensors on the host are exchanged beside those on GPUs, so that nothing waits for these
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        environment = TorchElasticEnvironment()
        super().__init__(cluster_environment=environment, process_group_backend=backend, timeout=TIMEOUT)

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        return module
