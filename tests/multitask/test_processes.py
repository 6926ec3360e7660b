"""What two processes exchange, each with its share of a batch, against one process with the whole batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from experiment.errors import InputError
from multitask import batch_norm, losses, processes
from multitask.data import open_dataset
from multitask.network import MultiTaskNetwork
from multitask.processes import average_gradients, share, sharing
from multitask.training.common_random import CommonRandomNumbers
from multitask.training.evaluation import evaluate, mean_losses
from search_spaces.blocks.layers import PairBatchNorm
from tests.support.several import each
from tests.support.training import DATA, SMALL

BATCH = 5  # which two processes do not divide


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_batch_norms_of_two_processes_equal_that_of_one(tmp_path):
    maps, pulls = 3 + 2 * drawn(BATCH, 4, 6, 7), drawn(BATCH, 4, 6, 7, seed=1)

    def normalised():
        """Output, gradients of the input and of scale and offset, statistics, of images of a share."""
        images = slice(share(BATCH).first, share(BATCH).last)
        plain, pairs = nn.BatchNorm2d(4), PairBatchNorm(2, 2)
        found = []
        for norm, call in ((plain, plain), (pairs, lambda x: pairs(x.unflatten(1, (2, 2)), range(2)).flatten(1, 2))):
            own = maps[images].clone().requires_grad_()
            with sharing():
                output = call(own)
                ((output * pulls[images]).sum() * processes.count()).backward()  # as a loss of all, see `summed`
            average_gradients(list(norm.parameters()))
            found.append([output.detach(), own.grad / processes.count(), norm.weight.grad.flatten()])
            found[-1] += [norm.bias.grad.flatten(), norm.running_mean.flatten(), norm.running_var.flatten()]
        return found

    one, two = normalised(), each(normalised, 2, tmp_path)
    for kind, whole in enumerate(one):
        shares = [of_process[kind] for of_process in two]
        torch.testing.assert_close(torch.cat([part[0] for part in shares]), whole[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(torch.cat([part[1] for part in shares]), whole[1], rtol=1e-6, atol=1e-6)
        for part in shares:
            torch.testing.assert_close(part[2:], whole[2:], rtol=1e-5, atol=1e-5)
    assert F.batch_norm is batch_norm._torch_batch_norm  # nothing is left replaced


@pytest.mark.parametrize("name", ["cross_entropy", "balanced_cross_entropy", "absolute_error", "berhu"])
def test_losses_with_ignored_pixels_equal_those_of_the_whole_batch(tmp_path, name):
    logits, mask = drawn(BATCH, 2, 4, 5), drawn(BATCH, 1, 4, 5, seed=1) > 0.4
    mask[0] = False  # an image without labels: means of means would differ
    labels = (drawn(BATCH, 1, 4, 5, seed=2) > 0).float()

    def loss():
        images = slice(share(BATCH).first, share(BATCH).last)
        own = logits[images].clone().requires_grad_()
        with sharing():
            value = getattr(losses, name)(own, labels[images], mask[images])
            value.backward()
        return value.detach(), own.grad / processes.count()

    value, gradient = loss()
    two = each(loss, 2, tmp_path)
    assert [float(part[0]) for part in two] == pytest.approx([float(value)] * 2, rel=1e-6)
    torch.testing.assert_close(torch.cat([part[1] for part in two]), gradient)


def test_weights_that_differ_between_processes_end_the_run(tmp_path):
    def checked():
        alike, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.full((3,), 1 + 1e-6 * processes.rank()))
        processes.check_alike([alike], "step 1")
        try:
            processes.check_alike([alike, other], "step 2")
        except InputError as error:
            return str(error)

    assert all(text.startswith("step 2: the weights of the processes differ") for text in each(checked, 2, tmp_path))


def test_dropout_masks_are_those_of_the_whole_batch(tmp_path):
    maps = 1 + drawn(BATCH, 3, 4, 4).abs()

    def dropped():
        own, network = share(BATCH), nn.Sequential(nn.Dropout2d(0.5), nn.Dropout(0.3))
        random = CommonRandomNumbers(0, torch.Generator(), own)
        random.begin_step(3)
        with sharing(), random.dropout_of(network):
            return network(maps[own.first : own.last])

    one, two = dropped(), each(dropped, 2, tmp_path)
    assert (one == 0).any() and torch.equal(torch.cat(two), one)


@pytest.mark.parametrize("measure", [evaluate, mean_losses])
def test_figures_of_two_and_three_processes_equal_those_of_one_bit_by_bit(tmp_path, measure):
    source = open_dataset(DATA)  # three images to validate on: a process may get one batch, or none
    network = MultiTaskNetwork(SMALL, source.tasks, seed=0)

    def measured(batch_size=1):
        return measure(network, source.splits["val"], source.tasks, batch_size, 0, torch.device("cpu"))

    one = measured()
    for count in (2, 3):
        assert each(measured, count, tmp_path) == [one] * count
    assert each(lambda: measured(2), 3, tmp_path) == [measured(2)] * 3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_next_image_of_another_process_is_the_control_of_a_probe(tmp_path, layout):
    maps = drawn(BATCH, 2, 3, 3).contiguous(memory_format=layout)

    def rolled():
        own = share(BATCH)
        with sharing():
            return processes.rolled(maps[own.first : own.last])

    assert torch.equal(torch.cat(each(rolled, 3, tmp_path)), maps.roll(1, 0))
