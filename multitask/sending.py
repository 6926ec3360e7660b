"""Between the host and a GPU: copies that wait for none of its queued work, and many reads as one."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


def send(values: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on a device; to a GPU from pinned memory, since other copies may wait."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def read(figures: Mapping[Key, Tensor | float]) -> dict[Key, float]:
    """Scalars as numbers. Those on one device are read together, so that the host waits for it once."""
    by_device: dict[torch.device, list[Key]] = {}
    for name, figure in figures.items():
        if isinstance(figure, Tensor):
            by_device.setdefault(figure.device, []).append(name)
    numbers: dict[Key, float] = {}
    for names in by_device.values():
        # double holds every float and every count below 2^53 as it is
        values = torch.stack([torch.as_tensor(figures[name]).detach().double() for name in names])
        numbers |= zip(names, values.tolist(), strict=True)
    return {name: numbers[name] if name in numbers else float(figure) for name, figure in figures.items()}
