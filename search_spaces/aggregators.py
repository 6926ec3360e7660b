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
    """conv1x1 (Xavier-uniform, no bias), BN, and ReLU if `relu`."""
    conv = nn.Conv2d(channels, out_channels, 1, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    norm = nn.BatchNorm2d(out_channels)
    return nn.Sequential(conv, norm, nn.ReLU()) if relu else nn.Sequential(conv, norm)


class Aggregator(nn.Module):
    """Base of the aggregators.

    sources: {target: its sources with a message}, in the order of the messages; channels: C of the features; dropout:
    rate of an aggregator that has dropout; seed: see `Exchange`, each part is built under `initial_weights(seed, ...)`.
    """

    @staticmethod
    def message_channels(channels: int) -> int:
        """d of the messages, for features of C channels."""
        return channels

    def __init__(self, sources: Sources, channels: int, dropout: float = 0.0, seed: int | None = None):
        super().__init__()
        self.sources = {target: tuple(names) for target, names in sources.items()}

    def forward(self, features: Mapping[str, Tensor], messages: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """Refined features, {target: (B, C, H, W)}."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def load_sources(self, other: "Aggregator") -> None:
        """Copies the weights of an aggregator over more sources, for the sources that both have."""
        larger = other.state_dict()
        for name, value in self.state_dict().items():
            given = larger[name]
            target = name.split(".")[1]
            if name.startswith("fuse.") and given.dim() == 4:  # one group of input channels per source
                width = given.shape[1] // len(other.sources[target])
                groups = dict(zip(other.sources[target], given.split(width, 1), strict=True))
                value.copy_(torch.cat([groups[source] for source in self.sources[target]], 1))
            elif given.shape == value.shape:
                value.copy_(given)
            else:  # the output of a target that has no sources any more: its own features come first
                value.copy_(given[:, : value.shape[1]])


class AtrcAggregator(Aggregator):
    """ReLU BN conv1x1(2C->C)[F_t, BN conv1x1(nd->C)[messages]], then dropout, with d = C / 2.

    Source: ATRC (Bruggemann et al., ICCV 2021). The scale of the messages' norm starts at zero, so that an untrained
    exchange passes no message. A target without sources has ReLU BN conv1x1(C->C)[F_t].
    """

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
                received = messages[target]
                fused = self.fuse[target](torch.cat(received, 1)) if received else torch.zeros_like(maps)
                maps = torch.cat([maps, fused], 1)
            refined[target] = self.dropout(out(maps))
        return refined


class MtebAggregator(Aggregator):
    """F_t + ReLU BN conv1x1(nC->C)[messages]; F_t alone without messages.

    Source: the multi-task exchange block of DenseMTL (Lopes et al., WACV 2023), as released with 'add'.
    """

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
    """F_t + the sum of the messages, without parameters. Source: PAD-Net (Xu et al., CVPR 2018)."""

    def forward(self, features: Mapping[str, Tensor], messages: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        return {
            target: features[target] + torch.stack(messages[target]).sum(0) if messages[target] else features[target]
            for target in self.sources
        }


AGGREGATORS: dict[str, type[Aggregator]] = {"atrc": AtrcAggregator, "mteb": MtebAggregator, "pad": PadAggregator}
