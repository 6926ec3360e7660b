"""Where repeated searches' preferences come from: the block, the pair, or the seed.

y[r, p, b] is the log-probability of block b on pair p at the end of run r, clipped at 1e-4 and centred over the blocks
of its run and pair. It is modelled as random effects y = block_b + (pair x block)_pb + (run x block)_rb + rest_rpb, of
variances s_b, s_pb, s_rb and s_e. With R runs, P pairs, B blocks and means written by dots, the mean squares and what
they are on average:

    M_b  = R P sum_b y[., ., b]^2 / (B - 1)                             s_e + R s_pb + P s_rb + R P s_b
    M_pb = R sum_pb (y[., p, b] - y[., ., b])^2 / ((P - 1) (B - 1))     s_e + R s_pb
    M_rb = P sum_rb (y[r, ., b] - y[., ., b])^2 / ((R - 1) (B - 1))     s_e + P s_rb
    M_e  = what is left, squared, / ((R - 1) (P - 1) (B - 1))           s_e

which gives the unbiased s_b = (M_b - M_pb - M_rb + M_e) / (R P), s_pb = (M_pb - M_e) / R, and for the seed
s_rb + s_e = (M_rb + (P - 1) M_e) / P: what a run prefers on all its pairs is the seed's as well. An estimate below 0
counts as 0 in the shares. (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supernet.records.pairs import Pair

FLOOR = 1e-4  # smaller probabilities count as this one


@dataclass(frozen=True)
class Variance:
    """Variances of log-probabilities, over so many runs and pairs; block and pair_block may come out below 0."""

    block: float
    pair_block: float
    seed: float
    runs: int
    pairs: int

    def shares(self) -> tuple[float, float, float] | None:
        """Of block, pair x block and seed, 0 to 1; None if nothing varies."""
        block, pair_block = max(0.0, self.block), max(0.0, self.pair_block)
        total = block + pair_block + self.seed
        return (block / total, pair_block / total, self.seed / total) if total > 0 else None


def variance_split(probabilities: Sequence[Mapping[Pair, Mapping[str, float]]]) -> Variance | None:
    """Of the runs' final probabilities, over the pairs that all candidates may serve in all runs.

    None with fewer than two runs, pairs or blocks.
    """
    blocks = {block for run in probabilities for pair in run.values() for block in pair}
    first = probabilities[0] if probabilities else {}
    pairs = [pair for pair in first if all(run.get(pair, {}).keys() == blocks for run in probabilities)]
    if min(len(probabilities), len(pairs), len(blocks)) < 2:
        return None
    order = sorted(blocks)
    logs = np.log([[[max(run[pair][block], FLOOR) for block in order] for pair in pairs] for run in probabilities])
    return components(logs - logs.mean(2, keepdims=True))


def components(values: NDArray[np.float64]) -> Variance:
    """values: (runs, pairs, blocks), centred over the blocks."""
    runs, pairs, blocks = values.shape
    of_block, of_pair, of_run = values.mean((0, 1)), values.mean(0), values.mean(1)
    rest = values - of_pair - of_run[:, None] + of_block
    free = blocks - 1
    m_block = runs * pairs * (of_block**2).sum() / free
    m_pair = runs * ((of_pair - of_block) ** 2).sum() / ((pairs - 1) * free)
    m_run = pairs * ((of_run - of_block) ** 2).sum() / ((runs - 1) * free)
    m_rest = (rest**2).sum() / ((runs - 1) * (pairs - 1) * free)
    return Variance(
        float((m_block - m_pair - m_run + m_rest) / (runs * pairs)),
        float((m_pair - m_rest) / runs),
        float((m_run + (pairs - 1) * m_rest) / pairs),
        runs,
        pairs,
    )
