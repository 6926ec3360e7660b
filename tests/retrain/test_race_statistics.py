"""Paired differences with pooled noise, against closed forms and simulation."""

import random
import statistics

import pytest
from scipy.stats import ttest_rel

from retrain.race.statistics import Paired, simultaneous


def drawn(sizes, seed, deviation=1.0, means=None):
    """Scores of arms with the first `sizes[arm]` seeds."""
    draw = random.Random(seed)
    shared = [draw.gauss(0, 5) for _ in range(max(sizes.values()))]
    means = means or {}
    return {
        arm: {k: means.get(arm, 0.0) + shared[k] + draw.gauss(0, deviation) for k in range(size)}
        for arm, size in sizes.items()
    }


def test_two_arms_have_the_paired_t_interval():
    scores = drawn({"a": 5, "b": 5}, 1, means={"b": 2.0})
    difference = Paired(scores).difference("b", "a")
    expected = ttest_rel(list(scores["b"].values()), list(scores["a"].values()))
    interval = expected.confidence_interval(0.95)
    assert difference.interval() == pytest.approx((interval.low, interval.high))
    assert difference.freedom == expected.df and difference.seeds == 5
    one_sided = ttest_rel(list(scores["b"].values()), list(scores["a"].values()), alternative="less")
    assert difference.upper(0.9) == pytest.approx(one_sided.confidence_interval(0.9).high)


def test_noise_is_pooled_over_all_arms():
    """With as many seeds each: half the mean variance of all paired differences, (arms - 1) (seeds - 1) degrees."""
    scores = drawn(dict.fromkeys("abcd", 4), 2)
    paired = Paired(scores)
    variances = [
        statistics.variance(scores[one][k] - scores[other][k] for k in range(4))
        for one in "abcd"
        for other in "abcd"
        if one < other
    ]
    assert paired.deviation**2 == pytest.approx(statistics.fmean(variances) / 2)
    assert paired.freedom == 9
    assert paired.difference("c", "a").error == pytest.approx(paired.deviation * 0.5**0.5)


def test_arms_that_ended_early_count_for_the_noise_and_differences_take_common_seeds():
    scores = drawn({"a": 6, "b": 6, "c": 2, "d": 3}, 3)
    paired = Paired(scores)
    assert paired.freedom == 17 - 4 - 6 + 1
    difference = paired.difference("c", "a")
    assert difference.mean == pytest.approx(statistics.fmean(scores["c"][k] - scores["a"][k] for k in (0, 1)))
    assert difference.error == pytest.approx(paired.deviation)
    only = paired.difference("b", "a", [5])
    assert (only.mean, only.seeds) == (pytest.approx(scores["b"][5] - scores["a"][5]), 1)
    with pytest.raises(ValueError, match="no seed in common"):
        paired.difference("c", "a", [4])


def test_intervals_hold_as_often_as_they_say():
    held = 0
    for k in range(800):
        scores = drawn({"a": 5, "b": 5, "c": 2, "d": 3}, k, means={"b": 1.0})
        low, high = Paired(scores).difference("b", "a").interval(0.9)
        held += low <= 1.0 <= high
    assert 0.9 - 0.035 < held / 800 < 0.9 + 0.035  # more than three standard errors


def test_what_all_arms_of_a_seed_share_makes_no_difference():
    scores = drawn(dict.fromkeys("abc", 3), 4)
    moved = {arm: {k: value + 100 * k for k, value in of_arm.items()} for arm, of_arm in scores.items()}
    one, other = (Paired(s).difference("b", "a").interval() for s in (scores, moved))
    assert one == pytest.approx(other)


def test_several_comparisons_at_once():
    assert simultaneous(0.95, 5) == pytest.approx(0.99)
    assert simultaneous(0.95, 0) == simultaneous(0.95, 1) == pytest.approx(0.95)


def test_scores_that_leave_nothing_for_the_noise():
    with pytest.raises(ValueError, match="to estimate the noise"):
        Paired({"a": {0: 1.0}, "b": {0: 2.0}})
