"""No exchange: the message is zero."""

from collections.abc import Sequence

from torch import Tensor

from search_spaces.blocks.base import ExchangeBlock, ExchangeInputs


class NoExchange(ExchangeBlock):
    """m = 0, without parameters. `Exchange` leaves the message out instead of adding zeros."""

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        like = inputs.features[self.pairs[active[0]][0]]
        return like.new_zeros(len(like), len(active), self.message_channels, *like.shape[2:])
