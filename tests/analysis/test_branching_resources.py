"""What a branched encoder adds to the costs of an architecture's network."""

from dataclasses import replace

from analysis.measures.costs import resources
from experiment.config import Config, DataSettings
from multitask.branching import Branching
from search_spaces import Architecture
from supernet.branching.search import unit_costs
from tests.support.networks import small_network


def test_the_host_counts_every_branch_once():
    tasks = ("semseg", "depth")
    tree = Branching(tasks, ((tasks,), *[(("semseg",), ("depth",))] * 3))
    config = Config(data=DataSettings(height=48, width=64, tasks=list(tasks)), network=small_network())
    branched = replace(config, network=small_network(branches=tree.to_lists()))
    architecture = Architecture.uniform(tasks, "global")
    plain, found = resources(architecture, config), resources(architecture, branched)
    twice = unit_costs(config.network, 48, 64)[1:]
    assert found.host.parameters - plain.host.parameters == sum(cost.parameters for cost in twice)
    assert found.host.multiply_adds - plain.host.multiply_adds == sum(cost.multiply_adds for cost in twice)
    assert found.exchange == plain.exchange and found.pairs == plain.pairs
