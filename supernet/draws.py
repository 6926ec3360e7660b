"""What a supernet computes in one forward pass: the blocks of every pair and their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces import SearchSpace


@dataclass(frozen=True)
class Draw:
    """weights: (pairs, blocks), how much each block counts on each pair; active: {block: indices of the pairs on which
    it must be computed}.
    """

    weights: Tensor
    active: Mapping[str, Sequence[int]]


def blocks_by_pair(space: SearchSpace, choices: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """{block: the pairs on which it is computed}, of the blocks of each pair, in the order of the space."""
    active: dict[str, list[int]] = {name: [] for name in space.blocks}
    for i, names in enumerate(choices):
        for name in names:
            active[name].append(i)
    return active


def one_hot(index: Tensor, blocks: int) -> Tensor:
    """(pairs,) -> (pairs, blocks), fp32; made by comparison, which does not wait for a GPU."""
    return (torch.arange(blocks, device=index.device) == index[:, None]).to(torch.float32)
