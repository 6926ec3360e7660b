"""Backbones: the encoders, which turn an image into maps at several strides.

Any model of timm that gives feature maps is one, by its name: `network.backbone: resnet50`. Nothing has to be added
here for it; `timm_encoder.py` brings what timm returns into the form below, `hrnet.py` corrects how HRNets fuse their
branches, `weights.py` loads a file of pretrained weights. `units.py` cuts an encoder into units, which tasks share or
have for themselves in a `BranchedEncoder` (`branched.py`).

To add an encoder of your own, write a `torch.nn.Module` anywhere and name it by its import path,
`network.backbone: my_package.my_module:MyEncoder`. It is built with `network.backbone_options` as keyword arguments and
has

- `channels`: a tuple, the channels of each map that it returns;
- `reductions`: a tuple, how many pixels of the image one element of each map spans, never decreasing;
- `forward(image)`: (B, 3, H, W) -> a list of maps (B, channels[i], h, w), finest first, for any H and W of at least 32;
- if tasks are to share some of its units only, `split()`, which returns `Parts` (`units.py`).

`multitask.testing.check_backbone(encoder)` verifies that a module keeps to this.
"""

from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from experiment.config import NetworkSettings
from experiment.errors import InputError
from multitask.backbones.weights import load_weights
from multitask.decoders import decoder_class
from multitask.plugins import build, import_class


class Encoder(Protocol):
    """What the network reads of an encoder, which is a `torch.nn.Module` besides."""

    channels: tuple[int, ...]
    reductions: tuple[int, ...]

    def __call__(self, image: Tensor) -> list[Tensor]: ...


def build_encoder(settings: NetworkSettings) -> nn.Module:
    """The encoder that the settings name, with its initial or pretrained weights.

    Raises InputError if there is no such encoder, its options do not fit it, or its weights cannot be loaded.
    """
    if ":" not in settings.backbone:
        from multitask.backbones.timm_encoder import TimmEncoder  # importing timm takes seconds

        hub = settings.pretrained is True
        finest = decoder_class(settings.decoder).finest
        encoder: nn.Module = TimmEncoder(settings.backbone, settings.backbone_options, hub, finest)
    else:
        encoder = _user_encoder(settings.backbone, settings.backbone_options)
    if isinstance(settings.pretrained, str):
        # with explicit indices, a model is cut after the last, while its file holds the rest too
        load_weights(encoder, settings.pretrained, settings.backbone, cut="out_indices" in settings.backbone_options)
    return encoder


def encoder_channels(settings: NetworkSettings) -> tuple[int, ...]:
    """The channels of each map of the encoder, found without allocating its weights."""
    return _outline(settings).channels


def encoder_reductions(settings: NetworkSettings) -> tuple[int, ...]:
    """How many pixels one element of each map of the encoder spans, found without allocating its weights."""
    return _outline(settings).reductions


def _outline(settings: NetworkSettings) -> Encoder:
    with torch.device("meta"):
        encoder = build_encoder(replace(settings, pretrained=False, init_from=None))
    return cast(Encoder, encoder)


def _user_encoder(path: str, options: dict[str, Any]) -> nn.Module:
    kind = import_class("network.backbone", path, needs=("forward",))
    try:
        encoder = build("network.backbone", path, kind, options)
    except InputError as error:
        if isinstance(error.__cause__, TypeError):
            raise InputError(f"network.backbone_options do not fit '{path}': {error.__cause__}") from error
        raise
    for name in ("channels", "reductions"):
        value = getattr(encoder, name, None)
        if not isinstance(value, (tuple, list)) or not value or not all(isinstance(v, int) for v in value):
            raise InputError(f"network.backbone '{path}' has {name} {value!r}: expected a tuple of integers")
    return encoder
