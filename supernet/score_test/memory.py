"""The memory that scores need beside the supernet's training, counted as supernet/cost/memory.py counts a step: the
probes of the strategy score, and the held-out images of the strategy evidence.
"""

import copy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from multitask.cost import free_memory
from multitask.data import Batch
from multitask.network import MultiTaskNetwork, Outputs, shrink
from multitask.training.step_cost import Counted, meta_inputs, on_meta
from search_spaces import Exchange, SearchSpace
from search_spaces.blocks.layers import counting_for
from supernet.cost.memory import SMALL, Conditions, describe, largest_path, step_peak
from supernet.score_test.evidence import Collection, HeldOut, probe_exchanges
from supernet.score_test.held_out import held_out_size, image_losses
from supernet.score_test.probes import MIDDLE, ProbedNetwork, per_probe
from supernet.supernet import Supernet


def probe_memory(model: ProbedNetwork, conditions: Conditions) -> int:
    """Bytes of a training step of all probes, beside the frozen network."""
    twin = copy.deepcopy(model).to("meta").train()
    network: MultiTaskNetwork = twin.frozen[0].to("meta")
    tasks, c = network.tasks, conditions
    image, valid = meta_inputs(c.batch_size, c.height, c.width)
    labels = {t: image.new_zeros(c.batch_size, task.label_channels, c.height, c.width) for t, task in tasks.items()}
    batch = Batch(image, valid, labels, dict.fromkeys(tasks, valid))

    def loss(outputs: Outputs) -> Tensor:
        losses = []
        for name, task in tasks.items():
            losses.append(task.loss(*per_probe(outputs.predictions[name][1:], batch, name, MIDDLE)))
            if name in outputs.auxiliary:
                losses.append(task.region_loss(outputs.auxiliary[name], labels[name], valid))
        return torch.stack(losses).sum()

    beside: list[nn.Module] = [network]
    return step_peak(twin, loss, c, beside)


def describe_probes(model: ProbedNetwork, conditions: Conditions, device: torch.device) -> str:
    """One line, with the batch size that fits where the configured one does not."""
    free = free_memory(device)
    c = conditions
    # the frozen network's maps, and for each probe its block's maps and predictions at the size of the features
    most = upper_bound(model, c)
    if most < SMALL * free:
        return f"the probes need less than {max(most, 10**8) / 1e9:.1f} GB of {free / 1e9:.1f} GB free"
    need = probe_memory(model, c)
    remedies = []
    if need > free:
        one = probe_memory(model, replace(c, batch_size=2)) / 2
        size = int(free // one)
        if 2 <= size < c.batch_size:
            remedies.append(f"--training.batch_size {size}")
        if c.precision == "fp32" and probe_memory(model, replace(c, precision="bf16")) <= free:
            remedies.append("--precision bf16")
    return describe(need, free, "a step of the probes", c.kind, remedies)


def upper_bound(model: ProbedNetwork, c: Conditions) -> int:
    """More than a step can need: forty maps of every probe, and of the network a thousand at the image's size."""
    channels = max(task.channels for task in model.frozen[0].tasks.values()) + model.bank.readout.weight.shape[1]
    pixels = c.batch_size * c.height * c.width
    return 4 * pixels * (40 * channels * len(model.bank.probes) // 16 + 1000)


def held_out_memory(network: MultiTaskNetwork, space: SearchSpace, candidates: Tensor, conditions: Conditions) -> int:
    """Bytes while a batch of held-out images is computed, beside the sums of those before; what is left of the training
    included. candidates: those of the mixture, (pairs, blocks) bool.
    """
    c = conditions
    twin = copy.deepcopy(network).to("meta").eval()
    supernet, tasks, size = twin.exchange, network.tasks, held_out_size(c.batch_size)
    assert isinstance(supernet, Supernet)
    exchange = supernet.exchange
    assert isinstance(exchange, Exchange)  # evidence knows one scale
    image, valid = meta_inputs(size, c.height, c.width)
    labels = {t: image.new_zeros(size, task.label_channels, c.height, c.width) for t, task in tasks.items()}
    batch = Batch(image, valid, labels, dict.fromkeys(tasks, valid))
    weights = [*twin.parameters(), *twin.buffers()]
    trained = sum(weight.nbytes for weight in twin.parameters() if weight.requires_grad)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        probes = probe_exchanges(space, exchange.channels)
    # outside the trainer's autocast, so in fp32
    with counting_for(c.kind), on_meta(c.kind, "fp32"), Counted(weights) as counted:
        for tensor in (image, valid, *labels.values(), *(t for one in probes for t in one.exchange.parameters())):
            counted.add(tensor)
        collection = Collection(exchange, candidates, probes)
        with torch.no_grad():
            features, regions = twin.features(image)
        losses = partial(image_losses, twin, tasks, batch, None)
        collection.add(HeldOut(features, regions, losses, shrink(valid, features)), 0)
    sums = sum(part.nbytes for of_pair in collection.sums.values() for part in of_pair.parts.values())
    return sum(weight.nbytes for weight in weights) + (1 + c.moments) * trained + counted.peak + sums


def describe_held_out(
    network: MultiTaskNetwork, space: SearchSpace, candidates: Tensor, conditions: Conditions, device: torch.device
) -> str:
    """One line."""
    size, free = held_out_size(conditions.batch_size), free_memory(device)
    phase = f"a batch of {size} held-out images"
    rough, _ = largest_path(network, replace(conditions, batch_size=size))
    if (most := 3 * rough) < SMALL * free:
        return f"{phase} needs less than {max(most, 10**8) / 1e9:.1f} GB of {free / 1e9:.1f} GB free"
    return describe(held_out_memory(network, space, candidates, conditions), free, phase, conditions.kind)
