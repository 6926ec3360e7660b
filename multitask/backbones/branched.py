"""An encoder whose units tasks share or have for themselves.

Source: Bruggemann et al., Automated search for resource-efficient branched multi-task networks (BMTAS), BMVC 2020.
"""

import copy
from typing import cast

from torch import Tensor, nn

from experiment.errors import InputError
from multitask.backbones.units import split
from multitask.branching import Branching


class BranchedEncoder(nn.Module):
    """(B, 3, H, W) -> {task: its maps}; each unit is there, and computed, once for every group of tasks that share it.

    encoder: is taken apart; all copies of a unit start with its weights. name: of the backbone, for errors.

    Attributes:
        units: for each unit {first task of a group: the group's copy}.
        channels, reductions: of each task's maps, as the encoder's.

    Raises InputError where the encoder cannot be split, or has another number of units.
    """

    def __init__(self, encoder: nn.Module, branching: Branching, name: str):
        super().__init__()
        stem, units, self.mapped = split(encoder, name)
        if len(units) != len(branching.units):
            raise InputError(
                f"network.branches has {len(branching.units)} units: expected {len(units)}, as network.backbone "
                f"'{name}' has"
            )
        self.channels = cast(tuple[int, ...], encoder.channels)
        self.reductions = cast(tuple[int, ...], encoder.reductions)
        self.branching = branching
        self.stem = stem
        self.units = nn.ModuleList(
            nn.ModuleDict({group[0]: copy.deepcopy(unit) if i else unit for i, group in enumerate(partition)})
            for unit, partition in zip(units, branching.units)
        )

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        *of_stem, start = self.stem(image)
        tasks = self.branching.tasks
        features = dict.fromkeys(tasks, start)
        maps = {task: list(of_stem) for task in tasks}
        for copies, partition, mapped in zip(self.units, self.branching.units, self.mapped):
            for group in partition:
                output = cast(nn.ModuleDict, copies)[group[0]](features[group[0]])
                features |= dict.fromkeys(group, output)
            if mapped:
                for task in tasks:
                    maps[task].append(features[task])
        return maps
