"""The backbones: modules with `channels` per stage and a forward that gives one map per stage, finest first."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from experiment.config import HRNET_WIDTHS, backbone_width
from experiment.errors import InputError, unknown
from multitask.backbones.hrnet import HRNet
from multitask.backbones.resnet import ResNet

Backbone = ResNet | HRNet
BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "resnet10": lambda width: ResNet((1, 1, 1, 1), width),
    "resnet18": lambda width: ResNet((2, 2, 2, 2), width),
    "resnet34": lambda width: ResNet((3, 4, 6, 3), width),
    "hrnet18": lambda width: HRNet(width, depth=2, modules=(1, 3, 2)),  # W18-Small-v2, ATRC's HRNet18-S
    "hrnet48": lambda width: HRNet(width, depth=4, modules=(1, 4, 3)),
}


def build_backbone(name: str, width: int | None = None, weights: str | None = None) -> Backbone:
    """The named backbone; `width` None is its own, `weights` a state dict's file.

    Raises InputError if the name, the width or the file does not fit.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    width = backbone_width(name, width)
    if width < 1:
        raise InputError(f"network.width is {width}: expected at least 1")
    if width != HRNET_WIDTHS.get(name, width):
        raise InputError(f"network.width is {width}: expected {HRNET_WIDTHS[name]}, the width of {name}, or null")
    backbone = BACKBONES[name](width)
    if weights is not None:
        _load(backbone, Path(weights), name)
    return backbone


def _load(backbone: nn.Module, path: Path, name: str) -> None:
    """Takes all of the backbone's weights from the file; a classifier's entries are left out."""
    if not path.is_file():
        raise InputError(f"network.backbone_weights '{path}': no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint fails in many ways
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"network.backbone_weights '{path}' cannot be loaded: expected a state dict ({first})"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"network.backbone_weights '{path}' holds other things: expected a state dict of {name}")
    own = backbone.state_dict()
    for key, value in own.items():
        if key not in state:
            if key.endswith("num_batches_tracked"):  # older public files lack it, and nothing here reads it
                continue
            raise InputError(f"network.backbone_weights '{path}' lacks '{key}': expected a state dict of {name}")
        if state[key].shape != value.shape:
            found, expected = tuple(state[key].shape), tuple(value.shape)
            raise InputError(f"network.backbone_weights '{path}': '{key}' has shape {found}, expected {expected}")
    parts = {key.partition(".")[0] for key in own}
    for key in state:
        if key not in own and str(key).partition(".")[0] in parts:  # a deeper backbone holds all that a shallower needs
            raise InputError(f"network.backbone_weights '{path}' has '{key}' too: expected a state dict of {name}")
    backbone.load_state_dict({key: state[key] for key in own if key in state})
