"""Device and precision of a run."""

import os
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from experiment.config import DEVICES, PRECISIONS
from experiment.config.checks import one_of
from experiment.errors import InputError

FABRIC_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


@dataclass(frozen=True)
class Hardware:
    """Where and how a run computes."""

    device: str = "auto"
    precision: str = "fp32"

    def fabric(self) -> Fabric:
        """Lightning's Fabric for one device. Raises InputError for an unknown name or a missing GPU."""
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, PRECISIONS)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device is cuda, but torch sees no GPU: expected auto or cpu")
        accelerator = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS may differ between runs
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a debugging aid that costs a tenth of a step
        return Fabric(accelerator=accelerator, devices=1, precision=FABRIC_PRECISIONS[self.precision])  # type: ignore[arg-type]
