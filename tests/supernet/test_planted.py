"""The search finds what is planted, in at least 4 of 5 seeds."""

import pytest

from benchmarks.power import COLOURS, NAMES, STEPS
from benchmarks.rules import RULES
from tests.support import planted

SEEDS = range(5)


@pytest.mark.parametrize(
    ("problem", "right"),
    [
        (planted.neighbourhood, {"local"}),
        (planted.image, {"global", "t_label", "s_label"}),
        (planted.noise, {"none"}),
    ],
)
def test_right_kind_of_block_wins(problem, right):
    winners = [planted.winner(problem, seed) for seed in SEEDS]
    assert sum(name in right for name in winners) >= 4, winners


def test_every_rule_has_steps_and_a_name_and_a_colour_in_the_figures():
    assert set(STEPS) == set(RULES)
    assert set(RULES) <= set(NAMES) and set(RULES) <= set(COLOURS)
