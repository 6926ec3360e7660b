"""Decoders: the contract, and a user's by import path."""

import sys

import pytest
import torch

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.decoders import DECODERS, decoder_class
from multitask.network import MultiTaskNetwork
from multitask.tasks import build_tasks
from multitask.testing import check_decoder
from tests.support.networks import small_network

MINE = """
import torch.nn.functional as F
from torch import nn
from multitask.decoders import Decoder

class Coarse(Decoder):
    def build(self):
        self.shared_channels = 7
        self.lateral = nn.ModuleList(nn.Conv2d(c, 7, 1) for c in self.encoder_channels)

    def task_part(self, task):
        return nn.Conv2d(7, self.channels, 1)

    def forward(self, maps):
        size = maps[-1].shape[2:]
        shared = sum(F.adaptive_avg_pool2d(layer(m), size) for layer, m in zip(self.lateral, maps))
        return {name: part(shared) for name, part in self.parts.items()}, shared

class Unordered(Coarse):
    def forward(self, maps):
        features, shared = super().forward(maps)
        return dict(reversed(features.items())), shared

class Other:
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_decoder.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_decoder", raising=False)
    return "my_decoder:Coarse"


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_keep_the_contract(name):
    check_decoder(DECODERS[name])


def test_a_users_decoder_serves_the_network(mine):
    check_decoder(decoder_class(mine))
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    network = MultiTaskNetwork(small_network(decoder=mine), tasks, None, ("semseg",))
    outputs = network(torch.randn(2, 3, 64, 96))
    assert outputs.predictions["depth"].shape == (2, 1, 64, 96)
    assert outputs.auxiliary["semseg"].shape == (2, 5, 64, 96)
    assert network.features(torch.randn(2, 3, 64, 96))[0]["depth"].shape == (2, 8, 2, 3)


def test_the_check_finds_a_fault(mine):
    with pytest.raises(AssertionError, match="in this order"):
        check_decoder(decoder_class("my_decoder:Unordered"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("concatenate", "unknown network.decoder 'concatenate'.*nearest: 'concat'"),
        ("my_decoder:Other", "expected a subclass of multitask.decoders.base.Decoder"),
        ("my_decoder:Corse", "nearest: 'Coarse'"),
    ],
)
def test_bad_decoders_are_refused(mine, name, message):
    with pytest.raises(InputError, match=message):
        decoder_class(name)
