"""A compiled training: the same numbers, files and masks as without compiling, from one graph."""

import pytest
import torch
from torch import nn

from experiment.errors import InputError
from multitask.training import compiling
from tests.multitask.test_common_random import dropping
from tests.support.training import training


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that were traced, which run as they are: what inductor makes of them takes minutes."""
    found = []
    monkeypatch.setattr(compiling, "BACKEND", lambda graph, inputs: found.append(graph) or graph.forward)
    torch._dynamo.reset()
    return found


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def test_compiled_training_is_one_graph_and_equals_the_plain_one_and_itself_when_resumed(tmp_path, graphs):
    settings = {"build": dropping("padnet_gate"), "iterations": 3, "optimizer": "sgd", "checkpoint_every": 1}
    plain = training(tmp_path, "plain", **settings)
    plain.fit()
    compiled = training(tmp_path, "compiled", compiled=True, validate_every=2, **settings)
    compiled.fit(lambda values: 0.0)  # validates amid the training
    assert len(graphs) == 1
    assert weights(plain).keys() == weights(compiled).keys()
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], tensor, rtol=1e-4, atol=1e-5)

    stopped = training(tmp_path, "stopped", compiled=True, **settings)
    step = stopped.train_step

    def failing(batch):
        if stopped.step == 1:
            raise KeyboardInterrupt
        return step(batch)

    stopped.train_step = failing
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    resumed = training(tmp_path, "stopped", resume=True, compiled=True, **settings)
    resumed.fit()
    assert resumed.step == 3
    for name, tensor in weights(compiled).items():
        assert torch.equal(weights(resumed)[name], tensor), name


def test_one_by_one_convolutions_without_strides_are_the_same():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 1, 2), nn.Conv2d(4, 5, 3, 2, 1), nn.Conv2d(5, 6, 1, (1, 2), bias=False))
    layers.double()
    maps = torch.randn(2, 3, 15, 20, dtype=torch.float64)
    found = []
    for _ in range(2):
        layers.zero_grad()
        output = layers(maps)
        output.square().sum().backward()
        found.append([output, *(parameter.grad.clone() for parameter in layers.parameters())])
        compiling.unstride(layers)
    assert [layer.stride for layer in layers] == [(1, 1), (2, 2), (1, 1)]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_missing_compiler_is_said_in_one_line(monkeypatch):
    monkeypatch.setenv("CXX", "no_such_compiler")
    with pytest.raises(InputError, match="no C\\+\\+ compiler 'no_such_compiler': expected"):
        compiling.check_compiling(torch.device("cpu"))


def test_several_processes_that_train_together_are_refused(monkeypatch):
    monkeypatch.setattr(compiling.processes, "count", lambda: 2)
    with pytest.raises(InputError, match="2 processes train one network"):
        compiling.check_compiling(torch.device("cpu"))
