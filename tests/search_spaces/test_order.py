"""Neither the order of tasks nor that of a hash table changes what an exchange computes."""

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
import torch

from search_spaces import Architecture, Exchange, SearchSpace
from search_spaces.aggregators import AGGREGATORS
from tests.support import naive
from tests.support.exchanges import (
    ALL,
    CHANNELS,
    TASKS,
    assert_close,
    draw,
    supernet,
)

pytestmark = pytest.mark.usefixtures("double")


def transfer(old: Exchange, new: Exchange) -> None:
    """Copies weights by the names of tasks, for the same tasks in another order."""
    with torch.no_grad():
        for name in old.served:
            for row, pair in enumerate(old.block(name).pairs):
                to = new.block(name).pairs.index(pair)
                state = old.block(name).pair_state(row)
                for key, value in new.block(name).pair_state(to).items():
                    value.copy_(state[key])
                if old.normalize_messages:
                    for key, value in new.norms[name].state_dict().items():
                        value[to] = old.norms[name].state_dict()[key][row]
        state = old.aggregator.state_dict()
        for key, value in new.aggregator.state_dict().items():
            theirs = state[key]
            target = key.split(".")[1]
            if key.startswith("fuse.") and key.endswith("0.weight"):
                groups = dict(zip(old.sources[target], theirs.chunk(len(old.sources[target]), 1)))
                theirs = torch.cat([groups[source] for source in new.sources[target]], 1)
            value.copy_(theirs)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_order_of_tasks(aggregator):
    inputs = draw()
    architecture = Architecture.random(SearchSpace(TASKS, ALL, aggregator), 3)
    exchange = naive.randomise(Exchange(architecture, CHANNELS)).eval()
    expected = exchange(*inputs)
    space = supernet(aggregator=aggregator)
    weights = torch.rand(len(space.pairs), len(space.block_names))
    mixed = space(*inputs, weights)
    for order in permutations(TASKS):
        other = Exchange(Architecture(order, architecture.exchanges, aggregator), CHANNELS).eval()
        transfer(exchange, other)
        refined = other(*inputs)
        assert tuple(refined) == order
        assert_close({task: refined[task] for task in TASKS}, expected)

        turned = Exchange(SearchSpace(order, ALL, aggregator), CHANNELS).eval()
        transfer(space, turned)
        rows = weights[[space.pairs.index(pair) for pair in turned.pairs]]
        refined = turned(*inputs, rows)
        assert_close({task: refined[task] for task in TASKS}, mixed)


HASHED = """
import hashlib, torch
from search_spaces import SPACES, Architecture, Exchange, SearchSpace
torch.set_num_threads(1)
tasks = ("semseg", "depth", "normals", "edge", "human_parts")
digest = hashlib.sha256()
for aggregator in ("atrc", "mteb", "pad"):
    space = SearchSpace(tasks, SPACES["extended"], aggregator)
    architecture = Architecture.random(space, 0)
    digest.update(repr(architecture).encode())
    torch.manual_seed(0)
    features = {task: torch.randn(2, 6, 4, 5) for task in tasks}
    regions = {task: torch.randn(2, 3, 4, 5) for task in tasks}
    exchange = Exchange(architecture, 6, dropout=0.0)
    for maps in exchange(features, regions).values():
        digest.update(maps.detach().numpy().tobytes())
    for maps in Exchange(space, 6)(features, regions, weights=torch.rand(25, len(space.blocks))).values():
        digest.update(maps.detach().numpy().tobytes())
    digest.update(repr(exchange.region_tasks()).encode())
print(digest.hexdigest())
"""


def test_order_of_hashes():
    """Sets of strings would come out in another order under another hash seed."""
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HASHED],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    first, second = (run.communicate(timeout=120)[0] for run in runs)
    assert all(run.returncode == 0 for run in runs)
    assert len(first.strip()) == 64 and first == second
