"""Counts against a loop, and torch's choice of algorithms, which they leave as it was."""

import pytest
import torch

from multitask.metrics.counting import count


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def test_counts_of_each_image(deterministic):
    draw = torch.Generator().manual_seed(0)
    index = torch.randint(4, (3, 1, 5, 6), generator=draw)
    kept = torch.rand(3, 1, 5, 6, generator=draw) < 0.6
    index[~kept] = 99  # what does not count may be anything
    found = count(index, kept, 4)
    assert found.tolist() == [[int((index[b] == k).sum()) for k in range(4)] for b in range(3)]
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
