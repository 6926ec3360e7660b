"""The relaxed choice: one logit per pair and candidate, its sampling, its entropy, and when a pair is decided.

Source: the search of Bruggemann et al., ATRC, ICCV 2021, after Gumbel-softmax (Jang et al. 2017, Maddison et al. 2017).
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from multitask.processes import average
from search_spaces import SearchSpace
from search_spaces.blocks import Pair
from search_spaces.blocks.layers import send
from supernet.draws import blocks_by_pair, one_hot

OPEN = -1


class Selection(nn.Module):
    """logits: (pairs, blocks), all zero at first; legal: the same shape, bool; fixed: (pairs,), the index of the block
    for which a pair is decided, or -1. A pair on which only one block is legal is decided from the start.
    """

    legal: Tensor
    fixed: Tensor

    def __init__(self, space: SearchSpace):
        super().__init__()
        self.space = space
        self.candidates = [space.legal(pair) for pair in space.pairs]  # read at every step
        self.logits = nn.Parameter(torch.zeros(len(space.pairs), len(space.blocks)))
        legal = torch.tensor([[name in names for name in space.blocks] for names in self.candidates])
        self.register_buffer("legal", legal)
        only = torch.where(legal.sum(1) == 1, legal.int().argmax(1), OPEN)
        self.register_buffer("fixed", only)  # int and always there, so that any checkpoint loads
        self.penalties: Tensor | None = None  # (pairs, blocks), subtracted from the logits when drawing
        self.noise: torch.Generator | None = None  # where set, noise from it replaces the tasks' gradients
        self.known: list[int] = only.tolist()  # `fixed` on the host, readable without waiting; see refresh

    def masked_logits(self) -> Tensor:
        """fp32, minus infinity where a block is not legal."""
        return self.logits.float().masked_fill(~self.legal, -math.inf)

    def probabilities(self) -> Tensor:
        """(pairs, blocks): softmax of the logits; one-hot where the pair is decided."""
        return self.decided_or(self.masked_logits().softmax(1))

    def decided_or(self, soft: Tensor) -> Tensor:
        """`soft`, (pairs, blocks), but one-hot where the pair is decided."""
        return torch.where((self.fixed == OPEN)[:, None], soft, self._one_hot(self.fixed))

    def sample(self, temperature: float, generator: torch.Generator) -> Tensor:
        """Soft Gumbel-softmax weights, (pairs, blocks); one-hot where the pair is decided.

        The noise is drawn on the CPU, whatever the device, so that a seed means the same everywhere.
        """
        uniform = torch.rand(self.logits.shape, generator=generator).clamp(1e-10, 1 - 1e-7)
        gumbel = -(-uniform.log()).log()
        return self._relaxed(send(gumbel, self.logits.device), temperature)

    def softmax(self) -> Tensor:
        """The probabilities as weights, nothing being drawn (DARTS, Liu et al., ICLR 2019)."""
        return self._relaxed(torch.zeros_like(self.logits), 1.0)

    def _relaxed(self, gumbel: Tensor, temperature: float) -> Tensor:
        logits = self.masked_logits()
        if self.noise is not None and logits.requires_grad:
            logits.register_hook(self._noise)
        if self.penalties is not None:
            logits = logits - self.penalties
        return self.decided_or(((logits + gumbel) / temperature).softmax(1))

    def _noise(self, gradient: Tensor) -> Tensor:
        """White noise of the gradient's size and support, in its place: the null of a search."""
        gradient = average(gradient)  # of this process's images, until then
        white = send(torch.randn(gradient.shape, generator=self.noise), gradient.device)
        white = white * (gradient != 0)
        return white * (gradient.norm() / white.norm().clamp_min(1e-30))

    def single_path(self, soft: Tensor) -> tuple[Tensor, dict[str, list[int]]]:
        """The likeliest block of each pair in a soft sample: its weight is 1 with the soft weight's gradient, and it
        alone is computed (GDAS, Dong and Yang 2019). Waits for a GPU: the host must know which blocks to compute.
        """
        index = soft.argmax(1)
        return self._one_hot(index) + (soft - soft.detach()), self._on(index.tolist())

    def entropies(self, normalize: bool = False) -> Tensor:
        """Of each pair's probabilities, in nats, (pairs,); 0 where decided.

        With `normalize`, divided by ln n of the pair's n legal blocks, so that 1 is an even choice.
        """
        p = self.probabilities()
        entropy = -torch.where(p > 0, p * p.clamp_min(1e-30).log(), 0).sum(1)
        return entropy / self.legal.sum(1).clamp_min(2).log() if normalize else entropy

    def choices(self) -> Tensor:
        """The block of each pair, (pairs,): what it was fixed to, else the likeliest."""
        return torch.where(self.fixed == OPEN, self.masked_logits().argmax(1), self.fixed)

    def chosen(self) -> Tensor:
        """One-hot weights of the choices, (pairs, blocks)."""
        return self._one_hot(self.choices())

    @torch.no_grad()
    def fix_decided(self, gap: float) -> None:
        """Fixes for good every open pair whose two likeliest blocks differ by at least `gap` in probability."""
        if self.logits.shape[1] == 1:
            return
        top = self.masked_logits().softmax(1).topk(2, dim=1).values
        decided = (self.fixed == OPEN) & (top[:, 0] - top[:, 1] >= gap)
        self.fixed.copy_(torch.where(decided, self.choices(), self.fixed))

    def fix_affordable(self, gap: float, keeps: Callable[[Mapping[Pair, str]], bool]) -> None:
        """As `fix_decided`, but leaves open what cannot be kept together with all that is fixed. Waits for a GPU."""
        former = self.fixed.clone()
        self.fix_decided(gap)
        pairs, names, wanted = self.space.pairs, self.space.blocks, self.fixed.tolist()
        held = {pairs[i]: names[block] for i, block in enumerate(former.tolist()) if block != OPEN}
        for i, block in enumerate(wanted):
            if block == OPEN or pairs[i] in held:
                continue
            if keeps({**held, pairs[i]: names[block]}):
                held[pairs[i]] = names[block]
            else:
                self.fixed[i] = OPEN

    def refresh(self) -> None:
        """Reads back which pairs are decided; until then `active` computes more than it must, never less.

        How often this is done is part of a search: a target whose pairs are all decided for none loses the fusing
        norm's offset at the next refresh.
        """
        self.known = self.fixed.tolist()

    def undecided(self) -> int:
        """Open pairs, as of the last refresh."""
        return self.known.count(OPEN)

    def active(self, everything: bool) -> dict[str, list[int]]:
        """{block: the pairs on which it must be computed}: open pairs all their legal blocks, decided ones the chosen.

        Without `everything`, the chosen blocks only.
        """
        return self._on(self.known if everything else self.choices().tolist())

    def _on(self, choices: Sequence[int]) -> dict[str, list[int]]:
        """{block: the pairs on which it is computed}, of one choice per pair, or OPEN for all candidates."""
        names = [
            legal if choice == OPEN else (self.space.blocks[choice],)
            for choice, legal in zip(choices, self.candidates, strict=True)
        ]
        return blocks_by_pair(self.space, names)

    def _one_hot(self, index: Tensor) -> Tensor:
        return one_hot(index, self.logits.shape[1])


def linear_schedule(start: float, end: float, step: int, steps: int) -> float:
    """Linear from `start` at step 0 to `end` at step `steps`."""
    return start + (end - start) * min(1.0, step / steps)
