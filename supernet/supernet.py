"""The supernet: an exchange that holds every candidate for every pair, and a sampler that weights them."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from search_spaces import SearchSpace, build_exchange
from search_spaces.blocks.layers import send
from search_spaces.scaled_exchange import Channels
from supernet.samplers import Sampler


class Supernet(nn.Module):
    """Fits the exchange slot of any network. Each forward pass computes what the sampler draws.

    channels: as of `build_exchange`; recompute: see `Exchange`; seed: of the initial weights, None for the global
    generator.
    """

    def __init__(
        self,
        space: SearchSpace,
        channels: Channels,
        sampler: Sampler,
        recompute: Sequence[str] = (),
        seed: int | None = None,
    ):
        super().__init__()
        self.space = space
        self.exchange = build_exchange(space, channels, recompute=recompute, seed=seed)
        self.sampler = sampler

    def forward(self, features: Mapping[Any, Any], regions: Mapping[Any, Any], valid: Any = None) -> dict[Any, Any]:
        """As `forward` of the exchange, with or without scales."""
        draw = self.sampler.draw() if self.training else self.sampler.whole()
        first = next(iter(features.values()))
        device = (first if isinstance(first, Tensor) else next(iter(first.values()))).device
        weights = draw.weights if draw.weights.device == device else send(draw.weights, device)
        refined: dict[Any, Any] = self.exchange(features, regions, valid, weights, draw.active)
        return refined

    @property
    def scales(self) -> tuple[int, ...]:
        return self.space.scales
