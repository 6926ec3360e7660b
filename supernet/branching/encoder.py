"""The supernet of branched encoders: as many copies of every unit as tasks, which every task mixes by its own weights.

Source: Bruggemann et al., BMTAS, BMVC 2020, section 3.
"""

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from multitask.backbones.branched import BranchedEncoder
from multitask.branching import Branching
from search_spaces.blocks.layers import send

SMALLEST = 1e-10  # of a uniform draw


class BranchingSupernet(nn.Module):
    """(B, 3, H, W) -> {task: its maps}: x_t <- sum_i w_ti unit_i(x_t), unit after unit, w the Gumbel-softmax of logits.

    While `separate`, task t takes copy t alone, so that the copies, which start alike, part. In eval mode each task
    takes its likeliest copy.

    encoder: a tree in which every task has all units for itself. generator: of the Gumbel noise, drawn on the CPU, so
    that a seed means the same everywhere; its state is part of the state dict.

    Attributes:
        logits: (units, tasks, copies), zero at first.
    """

    def __init__(self, encoder: BranchedEncoder, generator: torch.Generator):
        super().__init__()
        tasks = encoder.branching.tasks
        self.encoder, self.generator = encoder, generator
        self.channels, self.reductions = encoder.channels, encoder.reductions
        self.logits = nn.Parameter(torch.zeros(len(encoder.units), len(tasks), len(tasks)))
        self.separate = True
        self.temperature = 1.0
        for unit in encoder.units:
            for one in cast(nn.ModuleDict, unit).values():
                _fix_scale(one)

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        tasks = self.encoder.branching.tasks
        *of_stem, start = self.encoder.stem(image)
        maps = {task: list(of_stem) for task in tasks}
        features = [start] * len(tasks)
        weights, taken = None, [list(range(len(tasks)))] * len(self.logits)
        if not self.training:
            taken = self.choices()
        elif not self.separate:
            weights = self.sample()
        for number, mapped in enumerate(self.encoder.mapped):
            copies = [cast(nn.ModuleDict, self.encoder.units[number])[task] for task in tasks]
            if weights is None:
                features = [copies[taken[number][t]](features[t]) for t in range(len(tasks))]
            else:
                features = _mixed(copies, features, weights[number])
            if mapped:
                for task, output in zip(tasks, features):
                    maps[task].append(output)
        return maps

    def sample(self) -> Tensor:
        """Soft Gumbel-softmax weights, (units, tasks, copies)."""
        uniform = torch.rand(self.logits.shape, generator=self.generator).clamp(SMALLEST, 1 - 1e-7)
        gumbel = send(-(-uniform.log()).log(), self.logits.device)
        return ((self.logits.float() + gumbel) / self.temperature).softmax(2)

    def choices(self) -> list[list[int]]:
        """Of each unit, the likeliest copy of every task. Waits for a GPU."""
        return self.logits.argmax(2).tolist()

    def branching(self, backbone: str, provenance: Mapping[str, Any] | None = None) -> Branching:
        """The tree of the likeliest copies."""
        return Branching.from_copies(self.encoder.branching.tasks, self.choices(), backbone, provenance)

    def extract(self) -> BranchedEncoder:
        """The encoder of that tree; each group takes the weights of the copy that its tasks chose."""
        tasks, tree = self.encoder.branching.tasks, self.branching("")
        found = copy.deepcopy(self.encoder)
        found.branching = tree
        for number, (row, partition) in enumerate(zip(self.choices(), tree.units)):
            copies = cast(nn.ModuleDict, self.encoder.units[number])
            chosen = {group[0]: copies[tasks[row[tasks.index(group[0])]]] for group in partition}
            found.units[number] = nn.ModuleDict({name: copy.deepcopy(one) for name, one in chosen.items()})
        return found

    def get_extra_state(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])


def _mixed(copies: list[nn.Module], features: list[Tensor], weights: Tensor) -> list[Tensor]:
    """Each task's mixture; a copy runs once for all tasks that read the same map. weights: (tasks, copies)."""
    outputs: dict[tuple[int, int], Tensor] = {}
    mixtures = []
    for task, given in enumerate(features):
        for number, unit in enumerate(copies):
            if (number, id(given)) not in outputs:
                outputs[number, id(given)] = unit(given)
        parts = [outputs[number, id(given)] * weights[task, number] for number in range(len(copies))]
        mixtures.append(torch.stack(parts).sum(0).to(given.dtype))
    return mixtures


def _fix_scale(unit: nn.Module) -> None:
    """Fixes the scale and offset of a block's last batch norm, so that no copy makes up for a small weight by a large
    output. A scale that starts at zero, which would shut the block for good, becomes 1.
    """
    norms = [module for module in unit.children() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms[-1:]:
        norm.requires_grad_(False)
        if norm.affine and not norm.weight.any():
            nn.init.ones_(norm.weight)
