"""Common random numbers: networks of one seed see the same batches and dropout masks, whatever else differs."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from multitask.network import MultiTaskNetwork
from multitask.training.common_random import CommonRandomNumbers
from search_spaces import Architecture, Exchange
from tests.support.training import SMALL, training

TASKS = ("semseg", "depth")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def dropping(block):
    """Builds a network whose encoder and aggregator drop half of their channels."""

    def build(tasks):
        network = MultiTaskNetwork(SMALL, tasks, Exchange(Architecture.uniform(TASKS, block), 8, dropout=0.5))
        stem = next(name for name, _ in network.named_modules() if name.endswith(".bn1"))
        parent = network.get_submodule(stem.rpartition(".")[0])
        parent.bn1 = nn.Sequential(parent.bn1, nn.Dropout2d(0.5))
        return network

    return build


def watch(trainer):
    """({module: the masks that it draws}, batches), filled while the trainer fits."""
    masks, batches = {}, []
    for name, module in trainer.network.named_modules():
        if isinstance(module, nn.Dropout2d):

            def forward(x, draw=module.forward, name=name):
                mask = draw(torch.ones_like(x))
                if trainer.model.training:
                    masks.setdefault(name, []).append(mask[:, :, 0, 0].clone())
                return mask * x

            module.forward = forward
    losses = trainer.losses
    trainer.losses = lambda outputs, batch: batches.append(batch) or losses(outputs, batch)
    return masks, batches


def test_networks_with_other_exchanges_see_the_same_batches_and_masks(tmp_path):
    seen = []
    for block in ("global", "xtam"):
        trainer = training(tmp_path, block, build=dropping(block), iterations=3)
        seen.append(watch(trainer))
        trainer.fit()
    (masks, batches), (other_masks, other_batches) = seen
    assert len(masks) == 2 and masks.keys() == other_masks.keys()
    for name, drawn in masks.items():
        assert len(drawn) == len(other_masks[name]) == 3 * (len(TASKS) if "exchange" in name else 1)
        assert all(torch.equal(a, b) for a, b in zip(drawn, other_masks[name], strict=True))
        assert len({tuple(mask.flatten().tolist()) for mask in drawn}) == len(drawn), "one mask drawn twice"
    for one, other in zip(batches, other_batches, strict=True):
        assert torch.equal(one.image, other.image) and torch.equal(one.labels["depth"], other.labels["depth"])


def test_networks_without_dropout_and_of_fewer_tasks_see_the_same_batches(tmp_path):
    seen = []
    for name, changes in (("all", {"build": dropping("global")}), ("one", {"only": ["depth"]})):
        trainer = training(tmp_path, name, iterations=3, **changes)
        seen.append(watch(trainer)[1])
        trainer.fit()
    assert all(torch.equal(one.image, other.image) for one, other in zip(*seen, strict=True))


def test_resuming_with_dropout_equals_never_having_stopped(tmp_path):
    whole = training(tmp_path, "whole", build=dropping("global"))
    whole.fit()
    half = training(tmp_path, "half", build=dropping("global"))
    half.callback.after_step = lambda done: torch.rand(done)  # another draws from the global generator
    save = half.callback.state_dict

    def stop():
        if half.step == 3:
            half.callback.after_step = interrupt
        return save()

    def interrupt(done):
        raise KeyboardInterrupt

    half.callback.state_dict = stop
    with pytest.raises(KeyboardInterrupt):
        half.fit()
    resumed = training(tmp_path, "half", resume=True, build=dropping("global"))
    resumed.fit()
    for key, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], value), key


class Twice(nn.Module):
    """A module that drops what another, called twice, has computed, recomputed in the backward pass or not."""

    def __init__(self, recompute):
        super().__init__()
        self.dropout, self.recompute = nn.Dropout(0.5), recompute

    def part(self, x):
        return self.dropout(x * x) + self.dropout(x)

    def forward(self, x):
        for _ in range(2):
            x = checkpoint(self.part, x, use_reentrant=False) if self.recompute else self.part(x)
        return self.dropout(x)


@pytest.mark.parametrize("device", DEVICES)
def test_masks_hold_in_recomputed_activations(device):
    results = []
    for recompute in (False, True):
        module = Twice(recompute).to(device)
        random = CommonRandomNumbers(3, torch.Generator())
        x = torch.linspace(0.5, 2, 200, device=device).requires_grad_()
        with random.dropout_of(module):
            for step in (0, 1):
                random.begin_step(step)
                out = module(x)
                out.sum().backward()
        results.append((out.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_masks_change_with_the_call_the_step_the_name_and_the_seed():
    def masks(seed, step, name="dropout"):
        network = nn.ModuleDict({name: nn.Dropout(0.5)})
        random = CommonRandomNumbers(seed, torch.Generator())
        with random.dropout_of(network):
            random.begin_step(step)
            return [tuple(network[name](torch.ones(40)).tolist()) for _ in range(2)]

    drawn = [*masks(0, 0), *masks(1, 0), *masks(0, 1), *masks(0, 0, "other")]
    assert len(set(drawn)) == len(drawn)
    assert masks(0, 0) == drawn[:2]


def test_the_network_keeps_no_hooks():
    network = nn.Sequential(nn.Dropout(0.5))
    random = CommonRandomNumbers(0, torch.Generator())
    with random.dropout_of(network):
        assert network[0]._forward_pre_hooks
    assert not network[0]._forward_pre_hooks
