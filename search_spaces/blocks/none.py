"""No exchange: the message is zero."""

from collections.abc import Sequence

from torch import Tensor

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs


class NoExchange(ExchangeBlock):
    """Costs nothing; `Exchange` never calls it, since leaving a message out is the same as adding zeros."""

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        like = inputs.features[self.pairs[active[0]][0]]
        return like.new_zeros(len(like), len(active), self.message_channels, *like.shape[2:])
