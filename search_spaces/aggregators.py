"""How a target joins the messages that it receives: one choice for the whole network.

To add an aggregator, write a subclass of `Aggregator` and a line in `AGGREGATORS`. It is built for the sources from
which each target has a message, and is called as `(features, messages)` with features {task: (B, C, H, W)} and messages
{target: [(B, d, H, W), ...]} in the order of its sources. A target whose list is empty has no message in this pass: the
aggregator then gives what one without sources would give. `search_spaces.testing.check_aggregator` checks an
aggregator, and the tests run it over `AGGREGATORS`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from search_spaces.seeds import initial_weights

Sources = Mapping[str, Sequence[str]]  # {target: sources with a message}


def conv_norm(channels: int, out_channels: int, relu: bool) -> nn.Sequential:
    conv = nn.Conv2d(channels, out_channels, 1, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    norm = nn.BatchNorm2d(out_channels)
    return nn.Sequential(conv, norm, nn.ReLU()) if relu else nn.Sequential(conv, norm)


class Aggregator(nn.Module):
    """Base: keeps the wiring; `message_channels` says how wide the messages must be."""

    @staticmethod
    def message_channels(channels: int) -> int:
        return channels

    def __init__(self, sources: Sources, channels: int, dropout: float = 0.0, seed: int | None = None):
        super().__init__()
        self.sources = {target: tuple(names) for target, names in sources.items()}

    def forward(self, features: Mapping[str, Tensor], messages: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def load_sources(self, other: "Aggregator") -> None:
        """Takes the weights of an aggregator over more sources, for the sources that both have."""
        theirs = other.state_dict()
        for name, value in self.state_dict().items():
            found = theirs[name]
            target = name.split(".")[1]
            if name.startswith("fuse.") and found.dim() == 4:  # one group of input channels per source
                width = found.shape[1] // len(other.sources[target])
                groups = dict(zip(other.sources[target], found.split(width, 1), strict=True))
                value.copy_(torch.cat([groups[source] for source in self.sources[target]], 1))
            elif found.shape == value.shape:
                value.copy_(found)
            else:  # the output of a target that listens to nobody any more: its own features come first
                value.copy_(found[:, : value.shape[1]])


class AtrcAggregator(Aggregator):
    """cbr_{2C->C}[F_t, cb_{nd->C}[messages]], the last norm of the messages starting at zero (ATRC)."""

    @staticmethod
    def message_channels(channels: int) -> int:
        return channels // 2

    def __init__(self, sources: Sources, channels: int, dropout: float = 0.0, seed: int | None = None):
        super().__init__(sources, channels, dropout, seed)
        self.fuse = nn.ModuleDict()
        self.out = nn.ModuleDict()
        for target, names in self.sources.items():
            if names:
                with initial_weights(seed, "aggregator", "fuse", target):
                    fuse = conv_norm(len(names) * self.message_channels(channels), channels, relu=False)
                nn.init.zeros_(fuse[1].weight)  # type: ignore[arg-type]
                self.fuse[target] = fuse
            with initial_weights(seed, "aggregator", "out", target):
                self.out[target] = conv_norm(channels * (2 if names else 1), channels, relu=True)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, features: Mapping[str, Tensor], messages: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        refined = {}
        for target, out in self.out.items():
            maps = features[target]
            if target in self.fuse:
                heard = (
                    self.fuse[target](torch.cat(messages[target], 1)) if messages[target] else torch.zeros_like(maps)
                )
                maps = torch.cat([maps, heard], 1)
            refined[target] = self.dropout(out(maps))
        return refined


class MtebAggregator(Aggregator):
    """F_t + ReLU BN conv1x1[messages] (DenseMTL's multi-task exchange block, the released 'add')."""

    def __init__(self, sources: Sources, channels: int, dropout: float = 0.0, seed: int | None = None):
        super().__init__(sources, channels, dropout, seed)
        self.fuse = nn.ModuleDict()
        for target, names in self.sources.items():
            if names:
                with initial_weights(seed, "aggregator", "fuse", target):
                    self.fuse[target] = conv_norm(len(names) * channels, channels, relu=True)

    def forward(self, features: Mapping[str, Tensor], messages: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        return {
            t: features[t] + self.fuse[t](torch.cat(messages[t], 1)) if messages[t] else features[t]
            for t in self.sources
        }


class PadAggregator(Aggregator):
    """F_t + the sum of the messages (PAD-Net); no parameters."""

    def forward(self, features: Mapping[str, Tensor], messages: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        return {
            target: features[target] + torch.stack(messages[target]).sum(0) if messages[target] else features[target]
            for target in self.sources
        }


AGGREGATORS: dict[str, type[Aggregator]] = {"atrc": AtrcAggregator, "mteb": MtebAggregator, "pad": PadAggregator}
