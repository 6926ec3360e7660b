"""Runs that are killed at random moments, and checkpoints that are damaged: the same result, or one line.

The whole of it: tests/support/killing.py and damaging.py, which are commands too.
"""

import random

import pytest

from tests.support.damaging import Stopped, verdict
from tests.support.killing import harness


@pytest.mark.parametrize(("kind", "seed"), [("evidence", 0), ("multi_task", 1)])
def test_killed_at_a_random_moment_and_resumed_equals_never_stopped(tmp_path, kind, seed):
    assert harness(kind, 1, tmp_path, random.Random(seed)) == []


def test_a_damaged_checkpoint_changes_no_result_without_a_word(tmp_path):
    stopped, draw = Stopped(tmp_path, ("gumbel",)), random.Random(0)
    for kind in ("flip", "cut"):
        what, done, found = stopped.damage(kind, draw)
        assert not verdict(done, found).startswith("WRONG"), (what, done, found)
