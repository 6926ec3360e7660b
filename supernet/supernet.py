"""The supernet: an exchange that holds every candidate for every pair, and a sampler that weights them."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from search_spaces import Exchange, SearchSpace
from search_spaces.blocks.layers import send
from supernet.samplers import Sampler


class Supernet(nn.Module):
    """Fits the exchange slot of any network. Each forward pass computes what the sampler draws.

    channels: C of the features; recompute: see `Exchange`; seed: of the initial weights, None for the global generator.
    """

    def __init__(
        self,
        space: SearchSpace,
        channels: int,
        sampler: Sampler,
        recompute: Sequence[str] = (),
        seed: int | None = None,
    ):
        super().__init__()
        self.space = space
        self.exchange = Exchange(space, channels, recompute=recompute, seed=seed)
        self.sampler = sampler

    def forward(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor], valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `Exchange.forward`."""
        draw = self.sampler.draw() if self.training else self.sampler.whole()
        device = next(iter(features.values())).device
        weights = draw.weights if draw.weights.device == device else send(draw.weights, device)
        return self.exchange(features, regions, valid, weights, draw.active)
