"""global: every target pixel reads the whole source map through a linear-cost kernel attention.

Source: ATRC (Bruggemann et al., ICCV 2021), global context, after Katharopoulos et al. 2020.
Cost: 3Cd + 4d^2 + d multiply-adds a pixel; no L x L map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from search_spaces.blocks.base import ExchangeInputs
from search_spaces.blocks.context import ContextBlock


class GlobalContext(ContextBlock):
    """m_i = (sum_j v_j k_j^T) q_i / (q_i^T sum_j k_j), with q, k = softplus(...)."""

    softplus = True

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        sources = self.sources(active)
        query = self.query.from_tasks(inputs.features, self.targets(active), active)
        key = self.key.from_tasks(inputs.features, sources, active)
        value = self.value.from_tasks(inputs.features, sources, active)
        return linear_attention(query, key, value)

    def attention_maps(self, inputs: ExchangeInputs, row: int, pixels: Tensor) -> Tensor:
        weight = self.logits(inputs, row, pixels)
        shares = weight / weight.sum(2, keepdim=True).clamp_min(1e-12)
        return shares.unflatten(2, inputs.features[self.pairs[row][1]].shape[2:])


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """query, key, value: (B, k, d, H, W), query and key positive -> (B, k, d, H, W)."""
    size = query.shape[3:]
    # sums over all pixels overflow or lose digits in half precision; the meta device, used for counting, has none
    device = "cpu" if query.is_meta else query.device.type
    with torch.autocast(device, enabled=False):
        q, k, v = (x.flatten(3) if x.dtype == torch.float64 else x.flatten(3).float() for x in (query, key, value))
        summary = v @ k.transpose(2, 3)  # (B, k, d, d)
        weight = k.sum(3, keepdim=True).transpose(2, 3) @ q  # (B, k, 1, L)
        message = (summary @ q) * weight.clamp_min(1e-12).reciprocal()  # dividing costs three more maps backwards
    return message.to(value.dtype).unflatten(3, size)
