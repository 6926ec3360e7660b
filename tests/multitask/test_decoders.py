"""Decoders: the contract, and a user's by import path."""

import sys

import pytest
import torch

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.cost import parameter_count
from multitask.decoders import DECODERS, Decoded, decoder_class
from multitask.network import MultiTaskNetwork, feature_size
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


@pytest.mark.parametrize("name", DECODERS)
def test_the_order_of_tasks(name):
    """A task's features do not depend on it; MTI-Net's published gate lets them."""
    widths, strides = (2, 3, 4, 6), (2, 4, 8, 16)
    given = slice(0 if DECODERS[name].finest == 2 else 1, None)
    tasks = {"semseg": 3, "depth": 1, "edge": 2}
    first, second = (
        DECODERS[name](widths[given], strides[given], 4, dict(order)).eval()
        for order in (tasks.items(), reversed(tasks.items()))
    )
    if not DECODERS[name].joint:
        second.load_state_dict(first.state_dict())
    else:
        second.load_state_dict(permuted(first.state_dict(), second.state_dict(), tuple(tasks)))
    maps = [torch.randn(2, width, 48 // s, 64 // s) for width, s in zip(widths[given], strides[given])]
    one, other = (Decoded(*decoder(maps)).features for decoder in (first, second))
    assert list(other) == list(tasks)[::-1]
    same = all(torch.allclose(one[task], other[task], rtol=1e-4, atol=1e-5) for task in tasks)
    assert same == (name != "mti_net_faithful")


def permuted(state, like, tasks):
    """The weights of a decoder of these tasks for the tasks in reverse order: what joins all tasks' features has a
    block of input channels for each, and the gate one of output channels.
    """
    moved = {}
    for key, value in state.items():
        groups = len(tasks)
        joins = key.startswith("propagation.") and "excite" not in key
        reads = joins and key.endswith(("gate.0.first.0.weight", "gate.0.shortcut.0.weight"))
        reads = reads or (joins and key.endswith(("reduce.first.0.weight", "reduce.shortcut.0.weight")))
        if reads:
            value = torch.cat(value.chunk(groups, 1)[::-1], 1)
        elif joins and ".gate.2." in key:
            value = torch.cat(value.chunk(groups, 0)[::-1], 0)
        moved[key] = value
    assert moved.keys() == like.keys()
    return moved


NYUD = build_tasks(["semseg", "depth", "normals", "edge"], DataSettings(), 40)
NYUD_CHANNELS = {name: task.channels for name, task in NYUD.items()}


def test_published_size_of_mti_net():
    """17.96 M on HRNet18, whose encoder has 3,860,720."""
    with torch.device("meta"):
        decoder = DECODERS["mti_net"]((18, 36, 72, 144), (4, 8, 16, 32), 270, NYUD_CHANNELS)
        heads = sum(parameter_count(decoder.head(task)) for task in NYUD)
    assert round((parameter_count(decoder) + heads + 3_860_720) / 1e6, 2) == 17.96


def test_early_predictions_are_trained_and_not_evaluated():
    network = MultiTaskNetwork(small_network(decoder="fpm"), NYUD)
    early = network.train()(torch.randn(2, 3, 33, 64)).early
    assert len(early) == 4 and early[0].predictions["normals"].shape == (2, 3, 33, 64)
    sum(maps.square().mean() for one in early for maps in one.predictions.values()).backward()
    assert all(p.grad is None for p in network.decoder.parts["depth"]["join"].parameters())
    assert all(p.grad is not None for p in network.decoder.parts["depth"]["scales"].parameters())
    assert not network.eval()(torch.randn(2, 3, 33, 64)).early


def test_one_image_trains_through_the_pooled_branch():
    """Its mean over all pixels has no variance over a batch of one."""
    for name in ("aspp", "deeplab_joint"):
        network = MultiTaskNetwork(small_network(decoder=name), NYUD).train()
        assert network(torch.randn(1, 3, 64, 64)).predictions["depth"].isfinite().all()


def test_a_source_only_task_is_not_refined():
    class Twice(torch.nn.Module):
        def forward(self, features, regions, valid):
            return {task: 2 * maps for task, maps in features.items()}

    settings = small_network(decoder="distillation", source_only=["normals"])
    network = MultiTaskNetwork(settings, NYUD, Twice()).train()
    features, _ = network.features(torch.randn(2, 3, 64, 64))
    refined = network.refine(features, {})
    assert torch.equal(refined["normals"], features["normals"])
    assert torch.equal(refined["depth"], 2 * features["depth"])
    early = network(torch.randn(2, 3, 64, 64)).early
    assert [set(one.predictions) for one in early] == [{"semseg", "depth", "edge"}]
    with pytest.raises(InputError, match=r"source_only is .*decoder is concat: expected distillation"):
        MultiTaskNetwork(small_network(source_only=["normals"]), NYUD)


def test_a_late_split_shares_its_head():
    network = MultiTaskNetwork(small_network(decoder="fission_late"), NYUD).eval()
    network.initialize_heads({"normals": torch.tensor([1.0, 2.0, 3.0])})
    with torch.no_grad():
        features, _ = network.features(torch.randn(1, 3, 64, 64))
        whole = network.decoder.common_head(features["depth"])
        parts = [head(features[task]) for task, head in network.heads.items()]
    assert torch.equal(torch.cat(parts, 1), whole)
    assert network.decoder.common_head.norm.bias[41:44].tolist() == [1, 2, 3]


def test_densemtl_exchanges_at_stride_two():
    network = MultiTaskNetwork(small_network(decoder="densemtl"), NYUD).eval()
    features, _ = network.features(torch.randn(1, 3, 45, 64))
    assert features["depth"].shape == (1, 8, 23, 32)
    assert feature_size(network.settings, 45, 64) == (23, 32)
    assert network(torch.randn(1, 3, 45, 64)).predictions["semseg"].shape == (1, 40, 45, 64)
