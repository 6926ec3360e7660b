"""Checkpoints in a run folder: checkpoints/NAME.pt, written whole or not at all."""

from collections.abc import Mapping
from typing import Any

import torch

from experiment.files import replacing
from experiment.run import Run


def save_checkpoint(run: Run, state: Mapping[str, Any], name: str = "last") -> None:
    with replacing(run.path(f"checkpoints/{name}.pt")) as temporary:
        torch.save(dict(state), temporary)


def load_checkpoint(run: Run, name: str = "last") -> dict[str, Any] | None:
    """The checkpoint's content on the CPU, or None if there is none."""
    path = run.path(f"checkpoints/{name}.pt")
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
