"""t_label and s_label: every target pixel attends to prototypes of the source's label regions.

Source: ATRC (Bruggemann et al., ICCV 2021), target-label and source-label context. The regions are soft label maps of
the target's (t_label) or the source's (s_label) auxiliary prediction; a prototype is the source's mean feature in one.
Cost: Cd + d^2 + R(C + 2d) multiply-adds a pixel, plus R(2Cd + d^2) an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from search_spaces.blocks.base import ExchangeInputs
from search_spaces.blocks.context import ContextBlock


class LabelContext(ContextBlock):
    """m_i = softmax_r(q_i^T k_r / sqrt(d)) v_r over the R regions."""

    def owners(self, active: Sequence[int]) -> list[str]:
        """The task whose regions each pair reads."""
        return self.targets(active) if "target" in self.regions else self.sources(active)

    def prepare(self, inputs: ExchangeInputs, active: Sequence[int]) -> None:
        for owner, source in zip(self.owners(active), self.sources(active), strict=True):
            inputs.prototypes(owner, source)

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        owners = self.owners(active)
        # tasks differ in their number of regions R: pairs are batched by the task whose regions they read
        order = sorted(range(len(active)), key=lambda i: owners.index(owners[i]))
        rows = [active[i] for i in order]
        query = self.query.from_tasks(inputs.features, self.targets(rows), rows)
        sizes = [owners.count(owner) for owner in dict.fromkeys(owners)]
        messages: list[Tensor] = []
        for owner, part in zip(dict.fromkeys(owners), query.split(sizes, 1), strict=True):
            members = [i for i, name in zip(active, owners, strict=True) if name == owner]
            prototypes = torch.stack([inputs.prototypes(owner, source) for source in self.sources(members)], 1)
            key = self.key(prototypes, members)  # (B, m, d, R)
            messages += region_attention(part, key, self.value(prototypes, members)).unbind(1)
        places = sorted(range(len(order)), key=order.__getitem__)  # the reverse of `order`
        return torch.stack([messages[i] for i in places], 1)

    def attention_maps(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor:
        (target, source), (owner,) = self.pairs[row], self.owners([row])
        query = self.query.at(inputs.features, target, row, pixels)
        key = self.key(inputs.prototypes(owner, source)[:, None], [row])[:, 0]
        return spread(query, key, inputs.regions[owner]).unflatten(2, inputs.features[source].shape[2:])


class TargetLabelContext(LabelContext):
    regions = ("target",)


class SourceLabelContext(LabelContext):
    regions = ("source",)
    legal_on_self = False  # the same as t_label where target and source are one task


def region_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """query: (B, k, d, H, W); key, value: (B, k, d, R) -> (B, k, d, H, W)."""
    logits = key.transpose(2, 3) @ query.flatten(3) / key.shape[2] ** 0.5  # (B, k, R, L)
    return (value @ logits.softmax(2).to(value.dtype)).unflatten(3, query.shape[3:])


def spread(query: Tensor, key: Tensor, regions: Tensor) -> Tensor:
    """The weights of n queries over regions, spread over the regions' pixels.

    query: (B, d, n); key: (B, d, R); regions: (B, R, L), each region's weights over pixels -> (B, n, L).
    """
    logits = query.transpose(1, 2) @ key / key.shape[1] ** 0.5
    return logits.softmax(2) @ regions.to(logits.dtype)
