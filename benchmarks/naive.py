"""The exchange of a space as the published supernets run it: one small module per pair and candidate, and unfold.

The formulas and the weights are those of `search_spaces`; a test holds the two equal.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Exchange, SearchSpace
from search_spaces.blocks import Pair
from search_spaces.blocks.local_context import WINDOW


class NaiveExchange(nn.Module):
    """Fits the slot of the network like `Exchange`, with ATRC's aggregator; `weights`: (pairs, blocks)."""

    def __init__(self, space: SearchSpace, channels: int):
        super().__init__()
        self.space = space
        width = channels // 2
        self.candidates = [
            {name: CANDIDATES[name](pair, channels, width) for name in space.legal(pair)[1:]} for pair in space.pairs
        ]
        self.normalize_messages = space.normalize_messages
        self.norms = [
            {name: nn.BatchNorm2d(width, affine=False) for name in space.legal(pair)[1:]} for pair in space.pairs
        ]
        self.blocks_of_pairs = nn.ModuleList(block for row in self.candidates for block in row.values())
        self.norms_of_pairs = nn.ModuleList(norm for row in self.norms for norm in row.values())
        self.aggregator = Exchange(space, channels).aggregator

    def region_tasks(self) -> tuple[str, ...]:
        return self.space.tasks

    def forward(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor], valid: Tensor | None, weights: Tensor
    ) -> dict[str, Tensor]:
        messages: dict[str, list[Tensor]] = {target: [] for target in self.space.tasks}
        for i, pair in enumerate(self.space.pairs):
            mixed: Tensor | None = None
            for name, block in self.candidates[i].items():
                message = block(features, regions)
                if self.normalize_messages:
                    message = F.relu(self.norms[i][name](message))
                message = weights[i, self.space.blocks.index(name)] * message
                mixed = message if mixed is None else mixed + message
            assert mixed is not None
            messages[pair[0]].append(mixed)
        return self.aggregator(features, messages)

    @torch.no_grad()
    def take_weights(self, exchange: Exchange) -> None:
        """Copies the weights of the batched form."""
        for i, pair in enumerate(self.space.pairs):
            for name, block in self.candidates[i].items():
                row = [exchange.pairs[k] for k in exchange.served[name]].index(pair)
                state = exchange.block(name).pair_state(row)
                assert isinstance(block, Candidate)
                block.load_state_dict({block.rename(key): value[0] for key, value in state.items()})
        self.aggregator.load_state_dict(exchange.aggregator.state_dict())


class Candidate(nn.Module):
    def __init__(self, pair: Pair, channels: int, width: int):
        super().__init__()
        self.target, self.source = pair

    def rename(self, key: str) -> str:
        """The name here of a weight of the batched form: a conv and its norm are numbered in a Sequential."""
        return key.replace("conv.", "0.").replace("norm.", "1.").replace("first.", "0.").replace("second.", "1.")


def conv_norm(channels: int, width: int, affine: bool = True, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width, affine=affine)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class Context(Candidate):
    activation: type[nn.Module] = nn.ReLU

    def __init__(self, pair: Pair, channels: int, width: int):
        super().__init__(pair, channels, width)
        self.query, self.key = (
            nn.Sequential(conv_norm(channels, width), conv_norm(width, width, relu=False), self.activation())
            for _ in range(2)
        )
        self.value = conv_norm(channels, width, affine=False)


class Global(Context):
    activation = nn.Softplus

    def forward(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> Tensor:
        q = self.query(features[self.target])
        k, v = self.key(features[self.source]).flatten(2), self.value(features[self.source]).flatten(2)
        summary = v @ k.transpose(1, 2)
        weight = k.sum(2)[:, None] @ q.flatten(2)
        return (summary @ q.flatten(2) / weight.clamp_min(1e-12)).view_as(q)


class Local(Context):
    def forward(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> Tensor:
        source = features[self.source]
        return unfold_attention(self.query(features[self.target]), self.key(source), self.value(source))


def unfold_attention(query: Tensor, key: Tensor, value: Tensor, window: int = WINDOW) -> Tensor:
    """(N, d, H, W): the window's keys and values as 81 copies of the map, zero-padded."""
    count, width = query.shape[:2]
    near = F.unfold(key, window, padding=window // 2).view(count, width, window**2, -1)
    logits = (query.flatten(2)[:, :, None] * near).sum(1) / width**0.5
    near = F.unfold(value, window, padding=window // 2).view(count, width, window**2, -1)
    return (near * logits.softmax(1)[:, None]).sum(2).view_as(query)


class Label(Context):
    owner = "target"

    def forward(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> Tensor:
        q = self.query(features[self.target])
        weight = regions[self.target if self.owner == "target" else self.source].flatten(2).softmax(2)
        prototypes = (features[self.source].flatten(2) @ weight.transpose(1, 2))[..., None]
        k, v = self.key(prototypes).flatten(2), self.value(prototypes).flatten(2)
        logits = k.transpose(1, 2) @ q.flatten(2) / q.shape[1] ** 0.5
        return (v @ logits.softmax(1)).view_as(q)


class SourceLabel(Label):
    owner = "source"


class CrossTask(Candidate):
    def __init__(self, pair: Pair, channels: int, width: int):
        super().__init__(pair, channels, width)
        self.embed = nn.Conv2d(channels, channels, 3, padding=1)
        self.query, self.key, self.value = (conv_norm(channels, channels) for _ in range(3))
        self.gated = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
        self.gate = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.project = conv_norm(channels + channels // 2, width, affine=False)

    def forward(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> Tensor:
        e = F.relu(self.embed(features[self.source]))
        pooled = F.max_pool2d(e, 2, ceil_mode=True)
        q = self.query(F.interpolate(features[self.target], size=pooled.shape[2:], mode="nearest"))
        k, v = self.key(pooled), self.value(pooled)
        logits = q.flatten(2).transpose(1, 2) @ k.flatten(2) / q.shape[1] ** 0.5
        attended = (v.flatten(2) @ logits.softmax(2).transpose(1, 2)).view_as(v)
        attended = F.interpolate(attended, size=e.shape[2:], mode="nearest")
        itself = self.gated(e) * self.gate(e).sigmoid()
        return self.project(torch.cat([itself, self.alpha.view(1, -1, 1, 1) * attended], 1))


class Gate(Candidate):
    def __init__(self, pair: Pair, channels: int, width: int):
        super().__init__(pair, channels, width)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.project = conv_norm(channels, width, affine=False, relu=False)

    def rename(self, key: str) -> str:
        return super().rename(key) if key.startswith("project") else key

    def forward(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> Tensor:
        source = features[self.source]
        return self.project(self.conv(source) * self.gate(source).sigmoid())


CANDIDATES: dict[str, type[Candidate]] = {
    "global": Global,
    "local": Local,
    "t_label": Label,
    "s_label": SourceLabel,
    "xtam": CrossTask,
    "padnet_gate": Gate,
}


class NaiveSupernet(nn.Module):
    """Draws one set of Gumbel weights per pair and step and calls the naive exchange with them."""

    def __init__(self, space: SearchSpace, channels: int):
        super().__init__()
        self.exchange = NaiveExchange(space, channels)
        self.logits = nn.ParameterList(nn.Parameter(torch.zeros(len(space.legal(pair)))) for pair in space.pairs)

    def forward(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor], valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        space = self.exchange.space
        weights = torch.zeros(len(space.pairs), len(space.blocks), device=self.logits[0].device)
        rows: Sequence[Tensor] = [F.gumbel_softmax(logits, tau=1.0) for logits in self.logits]
        for i, (pair, row) in enumerate(zip(space.pairs, rows, strict=True)):
            weights[i, [space.blocks.index(name) for name in space.legal(pair)]] = row
        return self.exchange(features, regions, valid, weights)
