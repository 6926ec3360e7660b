"""The query, key and value projections that the four contexts of ATRC share.

Source: Bruggemann et al., Exploring Relational Context for Multi-Task Dense Prediction, ICCV 2021, section 3.2.
The paper has one Conv-BN-ReLU for queries and keys; the published models stack two, and so do these blocks.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs, Pair
from search_spaces.blocks.layers import PairConvNorm


class TwoStepProjection(nn.Module):
    """conv1x1(C->d) BN ReLU conv1x1(d->d) BN, then ReLU or softplus."""

    def __init__(self, pairs: int, channels: int, width: int, softplus: bool = False):
        super().__init__()
        self.first = PairConvNorm(pairs, channels, width, xavier=True)
        self.second = PairConvNorm(pairs, width, width, relu=False, xavier=True)
        self.activation = F.softplus if softplus else F.relu

    def from_tasks(self, features: Mapping[str, Tensor], tasks: Sequence[str], active: Sequence[int]) -> Tensor:
        """As `PairConv.from_tasks`."""
        return self.activation(self.second(self.first.from_tasks(features, tasks, active), active))

    def at(self, features: Mapping[str, Tensor], task: str, row: int, pixels: Tensor) -> Tensor:
        """Of one pair at n pixels of its task, indices into the H*W: (B, d, n)."""
        return self.from_tasks(features, [task], [row])[:, 0].flatten(2)[..., pixels]

    def forward(self, maps: Tensor, active: Sequence[int]) -> Tensor:
        """(B, k, C, *size) -> (B, k, d, *size)."""
        return self.activation(self.second(self.first(maps, active), active))


class ContextBlock(ExchangeBlock):
    """Base of global, local and label context: 3 C d + 2 d^2 + 10 d parameters a pair (2 d fewer without affine)."""

    softplus = False

    def __init__(self, pairs: Sequence[Pair], channels: int, message_channels: int, affine: bool = True):
        super().__init__(pairs, channels, message_channels, affine)
        count = len(self.pairs)
        self.query = TwoStepProjection(count, channels, message_channels, self.softplus)
        self.key = TwoStepProjection(count, channels, message_channels, self.softplus)
        self.value = PairConvNorm(count, channels, message_channels, affine=affine, xavier=True)

    def logits(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor:
        """q_i^T k_j of one pair, (B, n, L), for n target pixels and all L source pixels."""
        target, source = self.pairs[row]
        query = self.query.at(inputs.features, target, row, pixels)
        key = self.key.from_tasks(inputs.features, [source], [row])
        return query.transpose(1, 2) @ key[:, 0].flatten(2)

    def as_probe(self, projection: Tensor) -> bool:
        nn.init.zeros_(self.query.second.conv.weight)
        self.value.give_projection(projection)
        return "target" not in self.regions
