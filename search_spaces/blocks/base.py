"""What every exchange block is: one module that computes the messages of all its pairs at once."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

Pair = tuple[str, str]  # (target, source)


class ExchangeInputs:
    """What the blocks of one forward pass share.

    features: {task: (B, C, H, W)}
    regions: {task: (B, R, L)}, each region's weights over the L = H*W pixels (they sum to one, or are all zero)
    """

    def __init__(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]):
        self.features = features
        self.regions = regions
        self._prototypes: dict[Pair, Tensor] = {}

    def prototypes(self, regions_of: str, source: str) -> Tensor:
        """Region prototypes P = F_s A^T, (B, C, R), computed once per (regions, source)."""
        key = (regions_of, source)
        if key not in self._prototypes:
            pixels = self.features[source].flatten(2)
            self._prototypes[key] = pixels @ self.regions[regions_of].to(pixels.dtype).transpose(1, 2)
        return self._prototypes[key]


class ExchangeBlock(nn.Module):
    """Base of the built-in blocks.

    Every parameter and buffer carries the pairs on its first axis, so that one pair's weights are a slice
    (`pair_state`), and a forward pass may compute any subset of the pairs (`active`).

    pairs: the (target, source) pairs served; channels: C of the features; message_channels: d of the messages;
    affine: whether the last norm may rescale the message (not during a search, where the scale would buy weight).
    """

    legal_on_self: ClassVar[bool] = True
    regions: ClassVar[tuple[str, ...]] = ()  # whose label regions are read: "target", "source"

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__()
        self.pairs = tuple(pairs)
        self.channels = channels
        self.message_channels = message_channels

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        """Messages of `self.pairs[i] for i in active`, (B, len(active), d, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def prepare(self, inputs: ExchangeInputs, active: Sequence[int]) -> None:
        """Makes `inputs` compute what blocks share, before a forward pass that will be repeated."""

    def as_probe(self, projection: Tensor) -> bool:
        """Turns an untrained block into its plainest form, as far as it has one: even attention, open gates, and for
        values this projection of the source, (d, C). What the source holds is then read from the messages by a linear
        map, whatever the weights. Returns whether the messages then follow from the source alone, whatever the target.
        """
        return False

    def pair_state(self, index: int) -> dict[str, Tensor]:
        """The weights of one pair, as a state dict for this block built for that pair alone."""
        return {name: value[index : index + 1] for name, value in self.state_dict().items()}

    def load_pair(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Copies the weights of one pair from the `pair_state` of a block of the same kind and shape."""
        with torch.no_grad():
            for own, value in zip(self.pair_state(index).values(), state.values(), strict=True):
                own.copy_(value)

    def targets(self, active: Sequence[int]) -> list[str]:
        return [self.pairs[i][0] for i in active]

    def sources(self, active: Sequence[int]) -> list[str]:
        return [self.pairs[i][1] for i in active]


class PairByPair(ExchangeBlock):
    """Runs a user's simple block, an nn.Module for one pair, over all pairs.

    The simple block is built as `Block(channels, message_channels)` and called as `block(target, source)` with
    (B, C, H, W) maps; it returns (B, message_channels, H, W). If its class lists `regions = ("target",)`, "source" or
    both, it is also given `target_regions` / `source_regions`, (B, R, L).
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        channels: int,
        message_channels: int,
        affine: bool = True,
        *,
        simple: type[nn.Module],
    ):
        super().__init__(pairs, channels, message_channels, affine)
        self.blocks = nn.ModuleList(simple(channels, message_channels) for _ in self.pairs)
        self.needs = tuple(getattr(simple, "regions", ()))

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        messages = []
        for i in active:
            target, source = self.pairs[i]
            owners = {"target": target, "source": source}
            regions = {f"{end}_regions": inputs.regions[owners[end]] for end in self.needs}
            messages.append(self.blocks[i](inputs.features[target], inputs.features[source], **regions))
        return torch.stack(messages, 1)

    def pair_state(self, index: int) -> dict[str, Tensor]:
        return {f"blocks.0.{name}": value for name, value in self.blocks[index].state_dict().items()}
