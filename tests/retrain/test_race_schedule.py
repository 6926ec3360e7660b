"""Successive halving over seeds, on scores that are drawn: who ends, who wins, and that only results decide."""

import math
import random

import pytest
from scipy.stats import ttest_1samp

from experiment.config import RaceSettings
from experiment.errors import InputError
from retrain.race.rules import decide, round_sizes
from retrain.race.verdict import sentence
from tests.support.races import Drawn

NAMES = ["none", "found", "uniform:a", "uniform:b", "uniform:c", "random:0", "own:a"]
NULL = dict.fromkeys(NAMES, 0.0)


def race(means, deviation=1.0, seed=0, **settings):
    return Drawn({**NULL, **means}, deviation, seed, RaceSettings(**{"confirm_seeds": 2, **settings}), late=["own:a"])


def test_rounds_have_half_as_many_seeds_again():
    assert round_sizes(RaceSettings(first_seeds=2, seeds=10)) == [2, 3, 5, 8, 10]
    assert round_sizes(RaceSettings(first_seeds=3, seeds=3)) == [3]


def test_an_arm_that_is_better_by_five_deviations_wins_at_little_cost():
    for seed in range(40):
        drawn = race({"found": 5.0, "uniform:a": 1.0}, seed=seed)
        ended = drawn.ended()
        assert ended.winner == "found"
        assert sentence(ended).startswith("found gains +")
        assert len(drawn.results) < 40  # of 7 x 6 + 3 x 2 = 48
        assert {"none", "found"} <= set(ended.standing.fresh)


def test_equal_arms_have_a_winner_at_most_as_often_as_the_interval_misses():
    wins = sum(race({}, seed=seed, seeds=3).ended().winner != "none" for seed in range(500))
    assert wins <= 0.025 * 500 + 3 * (0.025 * 0.975 * 500) ** 0.5


def test_gains_of_winners_are_not_biased_by_their_choice():
    """The mean over races of what is reported, less the truth, of the arm that is chosen."""
    means = {"uniform:a": 1.0, "uniform:b": 1.0, "uniform:c": 1.0, "found": 1.0, "random:0": 1.0}
    errors = []
    for seed in range(200):
        ended = race(means, seed=seed, seeds=3).ended()
        if ended.chosen != "none":
            errors.append(ended.difference(ended.chosen).mean - (1.0 if ended.chosen in means else 0.0))
    # of the mean of differences over two seeds with a deviation of 1
    assert abs(sum(errors) / len(errors)) < 3 / len(errors) ** 0.5


def test_equal_arms_end_as_equivalent_and_the_cheapest_is_chosen():
    drawn = race({}, deviation=0.05)
    ended = drawn.ended()
    assert ended.chosen == ended.winner == "none"
    assert len(drawn.results) == 2 * len(NAMES)  # after the first round, and nothing to estimate again
    assert sentence(ended) == "nothing gains more than 0.50 points of Delta_m over no exchange (95 %)"


def test_a_gain_below_the_margin_ends_an_arm():
    drawn = race({"found": 0.3, "uniform:a": 2.0}, deviation=0.05)
    standing = drawn.run()
    assert standing.ended["found"] == "gains less than 0.5 over none, after 2 seeds"
    assert "none" not in standing.ended and drawn.ended().winner == "uniform:a"


def test_worse_arms_end_and_the_reference_never_does():
    standing = race({"found": 8.0, "none": -8.0, "own:a": 7.5}, deviation=0.1).run()
    assert standing.ended["uniform:a"] == "worse than found, after 2 seeds"
    assert "none" in standing.left and standing.best_uniform.startswith("uniform:")


def test_only_results_decide_not_the_order_in_which_they_came():
    for seed in range(5):
        drawn = race({"found": 1.5, "uniform:b": 1.5}, seed=seed)
        whole = drawn.run()
        other = race({"found": 1.5, "uniform:b": 1.5}, seed=seed)
        assert other.run(random.Random(seed)) == whole and other.results == drawn.results


def test_every_arm_of_a_round_has_the_same_seeds():
    drawn = race({"found": 1.0})
    while (standing := drawn.standing()).jobs:
        counts = {sum(arm == name and seed in drawn.seeds for arm, seed in drawn.results) for name in standing.left}
        assert max(counts, default=0) - min(counts, default=0) <= 2  # the second arms follow the first
        for job in standing.jobs:
            assert job not in drawn.results
            drawn.train(*job)
    assert {sum(name == arm for arm, _ in drawn.results) for name in standing.left if name not in standing.fresh} <= {
        2, 3, 5, 6
    }  # fmt: skip


def test_an_arm_that_diverged_ends_and_the_reference_must_not():
    drawn = race({"found": 5.0, "uniform:c": 9.0})
    drawn.results["uniform:c", 1] = (math.nan, math.nan)
    standing = drawn.run()
    assert standing.ended["uniform:c"] == "diverged with seed 1" and standing.chosen == "found"
    drawn.results["none", 0] = (math.nan, math.nan)
    with pytest.raises(InputError, match="without exchange diverged with seed 0"):
        drawn.standing()


def test_one_arm_against_the_reference_is_no_choice_and_needs_no_fresh_seeds():
    """Its gain is sure where it is large, at little cost, and chance seldom wins."""
    alone = [Drawn({"none": 0.0, "found": 5.0}, 1.0, seed, RaceSettings(first_seeds=3)).ended() for seed in range(100)]
    assert all(not ended.standing.fresh and set(ended.scores["found"]) <= set(range(6)) for ended in alone)
    assert sum(ended.winner == "found" for ended in alone) >= 90
    assert sum(len(of_arm) for ended in alone for of_arm in ended.scores.values()) < 900  # of 100 x 12
    assert sentence(next(ended for ended in alone if ended.winner == "found")).endswith(" seeds")
    assert "fresh" not in sentence(alone[0])
    chance = [Drawn({"none": 0.0, "found": 0.0}, 1.0, seed).ended().winner for seed in range(500)]
    assert chance.count("found") <= 0.025 * 500 + 3 * (0.025 * 0.975 * 500) ** 0.5


def test_alone_an_arm_meets_a_stricter_level_than_one_of_several_that_is_left():
    """A one-sided p of 0.03 ends the race of several arms, whose gain is then estimated on fresh seeds."""
    scores = {"none": dict.fromkeys(range(3), 0.0), "found": {0: 1.0, 1: 1.55, 2: 2.1}}
    gains = list(scores["found"].values())
    p = ttest_1samp(gains, 0, alternative="greater").pvalue
    assert 0.0125 < p < 0.05
    settings = RaceSettings(margin=0.01)
    assert decide(scores, ["none", "found"], settings).over
    assert not decide(scores, ["none", "found"], settings, alone=True).over
    clearer = {**scores, "found": {0: 1.3, 1: 1.55, 2: 1.8}}
    assert ttest_1samp(list(clearer["found"].values()), 0, alternative="greater").pvalue < 0.0125
    assert decide(clearer, ["none", "found"], settings, alone=True).over


def test_several_arms_of_which_one_is_left_are_not_one_arm_alone():
    drawn = race({"found": 5.0}, deviation=0.5)
    for arm in NAMES:
        if arm not in ("none", "found"):
            drawn.results[arm, 1] = (math.nan, math.nan)
    standing = drawn.run()
    assert standing.chosen == "found" and set(standing.fresh) == {"none", "found"}


def test_all_but_the_reference_diverged():
    drawn = race({})
    drawn.results = {(arm, 0): (math.nan, math.nan) for arm in NAMES if arm != "none"}
    assert drawn.ended().winner == "none" and "nothing is known" in sentence(drawn.ended())
