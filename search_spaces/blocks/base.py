"""The base of all exchange blocks: one module computes the messages of all its pairs at once."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

Pair = tuple[str, str]  # (target, source)


class ExchangeInputs:
    """The inputs of a forward pass, shared by all blocks.

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


def region_weights(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """Softmax over the pixels of each region, in fp32 or more: (B, R, H, W) -> (B, R, L).

    valid: (B, 1, H, W) bool; pixels that are not valid weigh nothing, and regions without a valid pixel are all zero.
    """
    logits = logits.flatten(2)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if valid is None:
        return logits.softmax(2)
    ignored = ~valid.flatten(2)
    # a finite floor instead of -inf: an image without valid pixels must not become NaN
    return logits.masked_fill(ignored, torch.finfo(logits.dtype).min).softmax(2).masked_fill(ignored, 0)


class ExchangeBlock(nn.Module):
    """Base of the built-in blocks.

    The first axis of every parameter and buffer is the pairs, so that one pair's weights are a slice (`pair_state`) and
    a forward pass can compute any subset of the pairs (`active`).

    pairs: the (target, source) pairs served; channels: C of the features; message_channels: d of the messages;
    affine: whether the last norm has a scale and an offset. A search has none: a candidate could raise its own weight
    by its scale.
    """

    legal_on_self: ClassVar[bool] = True
    regions: ClassVar[tuple[str, ...]] = ()  # the ends whose label regions are read: "target", "source"

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__()
        self.pairs = tuple(pairs)
        self.channels = channels
        self.message_channels = message_channels

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        """Messages of `self.pairs[i] for i in active`, (B, len(active), d, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def prepare(self, inputs: ExchangeInputs, active: Sequence[int]) -> None:
        """Computes what `inputs` caches for several blocks, before a forward pass that the backward pass repeats."""

    def as_probe(self, projection: Tensor) -> bool:
        """Makes an untrained block a fixed probe of its source, as far as it can be one: uniform attention, gates half
        open, no ReLU on values, and where the block has values, `projection` of the source, (d, C), in their place. So
        messages are close to linear in the source, whatever the initial weights.

        Returns whether messages no longer depend on the target.
        """
        return False

    def attention_maps(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor | None:
        """Where target pixels look in the source of `self.pairs[row]`, to be shown: (B, n, h, w), not negative.

        pixels: (n,), indices into the H*W of the features. A map covers the whole source, at any resolution. None for a
        block that does not attend to places.
        """
        return None

    def gate_maps(self, inputs: ExchangeInputs, row: int) -> Tensor | None:
        """How far the gates of `self.pairs[row]` are open, to be shown: (B, c, h, w) in 0..1; None without gates."""
        return None

    def pair_state(self, index: int) -> dict[str, Tensor]:
        """The weights of one pair: a state dict for the same block built for that pair alone."""
        return {name: value[index : index + 1] for name, value in self.state_dict().items()}

    def load_pair(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Copies the weights of one pair from the `pair_state` of a block of the same kind and shape."""
        with torch.no_grad():
            for own, value in zip(self.pair_state(index).values(), state.values(), strict=True):
                own.copy_(value)

    def targets(self, active: Sequence[int]) -> list[str]:
        """The target of each active pair."""
        return [self.pairs[i][0] for i in active]

    def sources(self, active: Sequence[int]) -> list[str]:
        """The source of each active pair."""
        return [self.pairs[i][1] for i in active]


class PairByPair(ExchangeBlock):
    """Runs a user's simple block, an nn.Module for one pair, over all pairs.

    The simple block is built as `Block(channels, message_channels)` and called as `block(target, source)` with
    (B, C, H, W) maps; it returns (B, message_channels, H, W). If its class lists `regions = ("target",)`, "source" or
    both, it is also given `target_regions` / `source_regions`, (B, R, L). It may have `attention_maps(target, source,
    pixels)` and `gate_maps(target, source)`, which get the same regions and return what those of `ExchangeBlock` do.
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
            maps, regions = self._arguments(inputs, i)
            messages.append(self.blocks[i](*maps, **regions))
        return torch.stack(messages, 1)

    def _arguments(self, inputs: ExchangeInputs, row: int) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """The features of the target and the source, and the regions that the block reads."""
        target, source = self.pairs[row]
        owners = {"target": target, "source": source}
        regions = {f"{end}_regions": inputs.regions[owners[end]] for end in self.needs}
        return (inputs.features[target], inputs.features[source]), regions

    def attention_maps(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor | None:
        return self._shown("attention_maps", inputs, row, pixels=pixels)

    def gate_maps(self, inputs: ExchangeInputs, row: int) -> Tensor | None:
        return self._shown("gate_maps", inputs, row)

    def _shown(self, method: str, inputs: ExchangeInputs, row: int, **options: Tensor) -> Tensor | None:
        """What an optional method of the simple block gives."""
        show = getattr(self.blocks[row], method, None)
        if show is None:
            return None
        maps, regions = self._arguments(inputs, row)
        shown: Tensor | None = show(*maps, **options, **regions)
        return shown

    def pair_state(self, index: int) -> dict[str, Tensor]:
        return {f"blocks.0.{name}": value for name, value in self.blocks[index].state_dict().items()}
