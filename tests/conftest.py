"""Small tensors gain nothing from threads, and tests run side by side."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def double():
    """float64, to compare digits."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
