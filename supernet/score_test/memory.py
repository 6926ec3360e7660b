"""The memory that the probes of the strategy score need, counted as supernet/cost/memory.py counts a step."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from multitask.cost import free_memory
from multitask.data import Batch
from multitask.network import MultiTaskNetwork, Outputs
from multitask.training.step_cost import meta_inputs
from supernet.cost.memory import SMALL, Conditions, describe, step_peak
from supernet.score_test.probes import MIDDLE, ProbedNetwork, per_probe


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
    return describe(need, free, "a step of the probes", remedies)


def upper_bound(model: ProbedNetwork, c: Conditions) -> int:
    """More than a step can need: forty maps of every probe, and of the network a thousand at the image's size."""
    channels = max(task.channels for task in model.frozen[0].tasks.values()) + model.bank.readout.weight.shape[1]
    pixels = c.batch_size * c.height * c.width
    return 4 * pixels * (40 * channels * len(model.bank.probes) // 16 + 1000)
