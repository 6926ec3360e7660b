"""Maps of three tasks, weights away from their initial values, and comparisons."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

TASKS = ("a", "b", "c")
REGIONS = {"a": 2, "b": 3, "c": 5}  # tasks differ in their number of label regions
BATCH = 2
SIZES = ((7, 5), (11, 13), (1, 2))  # odd, not square, larger and smaller than windows and tiles
UNSEEN = (19, 23)  # a size at which no other check has filled a block's caches

State = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


def maps_of(
    channels: int, size: tuple[int, int], dtype: torch.dtype, grad: bool = False, seed: int = 1
) -> tuple[State, State]:
    """Features {task: (B, C, H, W)} and logits of the label regions {task: (B, R, H, W)}."""
    generator = torch.Generator().manual_seed(seed)

    def draw(width: int) -> Tensor:
        return torch.randn(BATCH, width, *size, generator=generator, dtype=torch.float64).to(dtype)

    features = {task: draw(channels).requires_grad_(grad) for task in TASKS}
    return features, {task: draw(REGIONS[task]) for task in TASKS}


def noise(like: Tensor) -> Tensor:
    """Gaussian values of the same shape, the same in every call."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)


def perturb(module: Module) -> Module:
    """Moves weights and running statistics off values such as 0 and 1."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                shift = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
                value.mul_(1 + 0.3 * shift).add_(0.2 * shift)
    return module


def clone(state: Mapping[str, Tensor]) -> State:
    return {key: value.clone() for key, value in state.items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def assert_close(actual: Tensor, expected: Tensor, text: str) -> None:
    """Equal up to the rounding of the precision, relative to the largest value."""
    assert actual.shape == expected.shape, f"{text} (shape {tuple(actual.shape)}, not {tuple(expected.shape)})"
    if expected.numel():
        tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(expected.dtype, 3e-2)
        difference = float((actual - expected).detach().abs().max())
        assert difference <= tolerance * max(1.0, float(expected.detach().abs().max())), f"{text} (by {difference:.1e})"
