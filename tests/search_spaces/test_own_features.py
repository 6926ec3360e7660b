"""Blocks that read the target's own features in the source's place."""

import pytest
import torch

from multitask.cost import parameter_count
from search_spaces import Architecture, Exchange
from tests.support import naive
from tests.support.exchanges import ALL, CHANNELS, TASKS, assert_close, draw
from tests.support.own_blocks import Product, Regional, path_of

BLOCKS = [name for name in ALL if name != "none"] + [path_of(Product), path_of(Regional)]


def exchanges(block):
    """uniform:BLOCK with and without own features, of one seed."""
    plan = Architecture.uniform(TASKS, block, normalize_messages=True)
    return [Exchange(plan, CHANNELS, seed=3, own_features=own) for own in (False, True)]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_target_is_refined_as_if_every_task_had_its_features_and_regions(block, double):
    plain, own = (naive.randomise(exchange).eval() for exchange in exchanges(block))
    features, regions, valid = draw()
    expected = {}
    for target in TASKS:
        alike = dict.fromkeys(TASKS, features[target])
        expected[target] = plain(alike, dict.fromkeys(TASKS, regions[target]), valid)[target]
    assert_close(own(features, regions, valid), expected)


@pytest.mark.parametrize("block", BLOCKS)
def test_weights_are_those_of_the_uniform_architecture_of_the_seed(block):
    plain, own = exchanges(block)
    assert parameter_count(plain) == parameter_count(own)
    assert plain.region_tasks() == own.region_tasks()
    theirs = plain.state_dict()
    assert list(theirs) == list(own.state_dict())
    assert all(torch.equal(value, theirs[key]) for key, value in own.state_dict().items())


def test_nothing_of_another_task_arrives(double):
    own = naive.randomise(exchanges("xtam")[1]).eval()
    features, regions, valid = draw(grad=True)
    own(features, regions, valid)["a"].square().sum().backward()
    assert features["a"].grad.abs().sum() > 0
    assert not features["b"].grad.any() and not features["c"].grad.any()
