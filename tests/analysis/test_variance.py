"""The split of the preferences' variance against simulated preferences of known components."""

import math
import statistics

import numpy as np
import pytest

from analysis.measures.variance import FLOOR, components, variance_split

BLOCKS = ("none", "local", "global", "xtam", "gate")


def draw(random, deviations, runs=3, pairs=12, blocks=5):
    """(runs, pairs, blocks), centred over blocks; deviations: of block, pair x block, run x block, rest."""
    shapes = ((1, 1, blocks), (1, pairs, blocks), (runs, 1, blocks), (runs, pairs, blocks))
    values = sum(s * random.standard_normal(shape) for s, shape in zip(deviations, shapes))
    return values - values.mean(2, keepdims=True)


def as_run(values):
    """Probabilities whose log-probabilities, centred, are the values: (pairs, blocks)."""
    p = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    return {("t", str(i)): dict(zip(BLOCKS, row.tolist())) for i, row in enumerate(p)}


@pytest.mark.parametrize(
    "deviations", [(0.7, 0.5, 0.3, 0.9), (0, 0, 0, 1), (0, 0, 1, 0.5), (0, 1, 0, 0.5), (1, 0, 0, 2)]
)
def test_estimates_are_unbiased(deviations):
    """What a run prefers everywhere counts as the seed's, not the block's."""
    random = np.random.default_rng(0)
    result = [components(draw(random, deviations)) for _ in range(600)]
    block, pair, run, rest = (s**2 for s in deviations)
    for name, truth in (("block", block), ("pair_block", pair), ("seed", run + rest)):
        values = [getattr(split, name) for split in result]
        error = statistics.stdev(values) / math.sqrt(len(values))
        assert statistics.fmean(values) == pytest.approx(truth, abs=4 * error), name


def test_shares_of_many_runs_and_pairs_are_the_known_ones():
    values = draw(np.random.default_rng(1), (0.5, 0.4, 0.2, 0.3), runs=40, pairs=40, blocks=200)
    block, pair, seed = components(values).shares()
    total = 0.25 + 0.16 + 0.04 + 0.09
    assert (block, pair, seed) == pytest.approx((0.25 / total, 0.16 / total, 0.13 / total), abs=0.06)


def test_nothing_in_common_is_all_seed():
    """The naive shares, of means over few runs, would credit noise to the pairs."""
    random = np.random.default_rng(2)
    result = [components(draw(random, (0, 0, 0, 1), runs=2)).shares() for _ in range(300)]
    assert statistics.fmean(pair for _, pair, _ in result) < 0.1  # of means of two runs: a half
    assert all(0 <= share <= 1 for shares in result for share in shares)
    assert all(sum(shares) == pytest.approx(1) for shares in result)


def test_probabilities_are_centred_and_order_does_not_matter():
    values = 0.5 * draw(np.random.default_rng(3), (1, 1, 1, 1))
    runs = [as_run(one) for one in values]
    expected = components(values)
    for given in (runs, runs[::-1], [{pair: dict(reversed(p.items())) for pair, p in run.items()} for run in runs]):
        result = variance_split(given)
        assert vars(result) == pytest.approx(vars(expected))


def test_small_probabilities_count_as_the_floor():
    sharp = [as_run(np.where(np.arange(5) == run, 30.0, 0.0)[None].repeat(4, 0)) for run in range(2)]
    floor = math.log(FLOOR)
    centred = [[(0 if b == run else floor) - 4 / 5 * floor for b in range(5)] for run in range(2)]
    assert vars(variance_split(sharp)) == pytest.approx(
        vars(components(np.array([[c] * 4 for c in centred]))), abs=1e-6
    )


def test_only_pairs_with_all_candidates_in_all_runs_count():
    runs = [as_run(one) for one in draw(np.random.default_rng(4), (1, 1, 1, 1))]
    expected = variance_split(runs)
    for run in runs:
        run["t", "t"] = {"none": 0.2, "local": 0.8}
    assert variance_split(runs) == expected and expected.pairs == 12
    runs[0]["u", "t"] = dict.fromkeys(BLOCKS, 0.2)
    assert variance_split(runs) == expected
    runs[1]["t", "0"] = {"none": 0.2, "local": 0.8}
    assert variance_split(runs).pairs == 11


def test_what_cannot_be_split_is_none():
    runs = [as_run(one) for one in draw(np.random.default_rng(5), (1, 1, 1, 1))]
    assert variance_split([]) is None and variance_split(runs[:1]) is None
    assert variance_split([{("t", "0"): run["t", "0"]} for run in runs]) is None
    assert variance_split([as_run(np.zeros((3, 5)))] * 2).shares() is None  # nothing was preferred
