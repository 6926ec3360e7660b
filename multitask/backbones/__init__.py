"""The backbones: modules with `channels` per stage and a forward that gives one map per stage, finest first."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from multitask.backbones.resnet import ResNet
from multitask.errors import InputError, unknown

BACKBONES: dict[str, Callable[[int], ResNet]] = {
    "resnet10": lambda width: ResNet((1, 1, 1, 1), width),
    "resnet18": lambda width: ResNet((2, 2, 2, 2), width),
    "resnet34": lambda width: ResNet((3, 4, 6, 3), width),
}


def build_backbone(name: str, width: int, weights: str | None = None) -> ResNet:
    """The named backbone; `weights` is a state dict's file. Raises InputError if the name or the file does not fit."""
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    if width < 1:
        raise InputError(f"network.width is {width}: expected at least 1")
    backbone = BACKBONES[name](width)
    if weights is not None:
        _load(backbone, Path(weights), name)
    return backbone


def _load(backbone: nn.Module, path: Path, name: str) -> None:
    """Takes all of the backbone's weights from the file; other entries, such as a classifier, are left out."""
    if not path.is_file():
        raise InputError(f"network.backbone_weights '{path}': no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint fails in many ways
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"network.backbone_weights '{path}' cannot be loaded: expected a state dict ({first})"
        ) from error
    own = backbone.state_dict()
    for key, value in own.items():
        if not isinstance(state, dict) or key not in state:
            raise InputError(f"network.backbone_weights '{path}' lacks '{key}': expected a state dict of {name}")
        if state[key].shape != value.shape:
            found, expected = tuple(state[key].shape), tuple(value.shape)
            raise InputError(f"network.backbone_weights '{path}': '{key}' has shape {found}, expected {expected}")
    backbone.load_state_dict({key: state[key] for key in own})
