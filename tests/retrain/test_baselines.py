"""The baselines by name, and what every one must hold."""

import pytest

from experiment.errors import InputError
from retrain.baselines import BASELINES, baseline, names
from retrain.baselines.base import Baseline
from retrain.model import Model
from retrain.testing import check_baseline
from search_spaces import SPACES, SearchSpace, SpaceError
from tests.support.networks import small_network

SPACE = SearchSpace(("semseg", "depth"), SPACES["atrc"])


@pytest.mark.parametrize("name", BASELINES)
def test_conformance(name):
    check_baseline(BASELINES[name], small_network())


def test_the_conformance_check_finds_a_baseline_that_changes():
    class Moody(Baseline):
        name = "moody"
        calls = 0

        def model(self, space, seed, argument):
            Moody.calls += 1
            return Model(f"moody {Moody.calls}")

    with pytest.raises(AssertionError, match="another model for the same seed"):
        check_baseline(Moody, small_network())


def test_names_are_those_that_are_taken():
    listed = names(SPACE)
    assert "uniform:local" in listed and "uniform:none" in listed and "single_task" in listed
    for name in listed:
        assert baseline(name, SPACE, 0).name == name


@pytest.mark.parametrize(
    "name", ["multitask", "multi_task:", "multi_task:global", "uniform", "uniform:", "random:1", ""]
)
def test_a_wrong_name_is_one_line_with_the_nearest(name):
    with pytest.raises(InputError, match=r"unknown baseline .*nearest: '"):
        baseline(name, SPACE, 0)


def test_uniform_takes_any_block_and_refuses_what_is_none():
    assert baseline("uniform:xtam", SPACE, 0).architecture.exchanges["semseg", "depth"] == "xtam"  # not in the space
    with pytest.raises(SpaceError, match="nearest: 'xtam'"):
        baseline("uniform:xtan", SPACE, 0)
