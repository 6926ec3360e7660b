"""timm's models as encoders. Importing this module imports timm, which takes seconds."""

import difflib
import logging
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from experiment.errors import InputError
from multitask.backbones.hrnet import fuse_bilinearly
from multitask.backbones.units import Parts, Stem
from multitask.resizing import resize

FINEST = 4
STRIDES = (4, 8, 16, 32)  # of the pyramid that is made of a model with a single stride
STAGE = re.compile(r"(layer|layers_|stages_|s)\d+")  # how timm names the stages of its models


class TimmEncoder(nn.Module):
    """(B, 3, H, W) -> maps (B, channels[i], h, w) of a timm model, finest first, from stride `finest` on.

    A model with a single stride, such as a ViT, gives the maps of four blocks, evenly spaced over its depth, resampled
    bilinearly to strides 4, 8, 16 and 32. A model that embeds patches gets the image enlarged bilinearly to multiples
    of the patch; its position embeddings or attention masks follow the image's size.

    options: keyword arguments of `timm.create_model`. pretrained: whether timm loads its weights from its hub. finest:
        maps of a smaller stride, such as a stem's, are left out.

    Raises InputError for an unknown name, options that do not fit, or weights that the hub does not give.
    """

    def __init__(
        self, name: str, options: Mapping[str, Any] | None = None, pretrained: bool = False, finest: int = FINEST
    ):
        super().__init__()
        self.name = name
        self.reductions: tuple[int, ...]
        options = dict(options or {})
        if name.partition(".")[0] not in timm.list_models():
            near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.0)[0]
            raise InputError(
                f"unknown network.backbone '{name}': expected a timm model or package.module:Class; nearest: '{near}'"
            )
        if name.startswith("hrnet"):
            options.setdefault("feature_location", "")  # the branches themselves, without classification layers
        with torch.device("meta"):
            plan, options = _create(name, options)
        if "out_indices" not in options and (depth := _single_stride_depth(plan)):
            options["out_indices"] = sorted({max(depth * part // 4 - 1, 0) for part in (1, 2, 3, 4)})
        self.model, options = _create(name, options, pretrained)
        if name.startswith("hrnet"):
            fuse_bilinearly(self.model)

        info: Any = self.model.feature_info
        reductions = [int(stride) for stride in info.reduction()]
        channels = list(info.channels())
        self.channels_last = str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC")
        self.patch = min(reductions) if options.get("dynamic_img_size") else 1
        if len(set(reductions)) == 1 and reductions[0] > FINEST:
            # level k of the pyramid takes one of the model's maps, deeper ones for coarser levels
            self.kept = [level * len(channels) // len(STRIDES) for level in range(len(STRIDES))]
            self.resample = True
            self.reductions = STRIDES
        else:
            self.kept = [i for i, stride in enumerate(reductions) if stride >= finest]
            self.resample = False
            self.reductions = tuple(reductions[i] for i in self.kept)
        if not self.kept:
            raise InputError(f"network.backbone '{name}' gives maps at strides {reductions}: expected {finest} or more")
        self.channels = tuple(channels[i] for i in self.kept)

    def forward(self, image: Tensor) -> list[Tensor]:
        size = image.shape[2:]
        whole = [_ceil(length, self.patch) * self.patch for length in size]
        if whole != list(size):
            image = resize(image, whole)
        try:
            maps = self.model(image)
        except AssertionError as error:  # how timm's models refuse a size
            raise InputError(
                f"network.backbone '{self.name}' cannot take images of {size[0]}x{size[1]} ({error}): expected another "
                f"data.height and data.width, or --network.backbone_options.img_size '[{size[0]}, {size[1]}]'"
            ) from error
        maps = [maps[i].permute(0, 3, 1, 2).contiguous() if self.channels_last else maps[i] for i in self.kept]
        if not self.resample:
            return maps
        sizes = [[_ceil(length, stride) for length in size] for stride in STRIDES]
        return [resize(m, s) for m, s in zip(maps, sizes)]

    def split(self) -> Parts:
        """A stem and one unit a residual block, or a stage where timm's stage is no plain sequence of blocks.

        Raises InputError for a model without stages, of one stride, or with channels last.
        """
        stages = None if self.resample or self.channels_last else _stages(self.model)
        if stages is None:
            raise InputError(
                f"network.backbone '{self.name}' cannot be split into units that tasks share: expected a model made of "
                "blocks, such as resnet18 or mobilenetv2_100"
            )
        layers, blocks, mapped = stages
        places = [name for name in (*layers, *blocks) if name in mapped]
        kept = [places[i] for i in self.kept]
        units, ends = [], []
        for name, stage in blocks.items():
            inside = list(stage) if isinstance(stage, nn.Sequential) else [stage]
            units += inside
            ends += [False] * (len(inside) - 1) + [name in kept]
        return Parts(Stem(layers.items(), [name for name in kept if name in layers]), units, ends)


def _create(name: str, options: Mapping[str, Any], pretrained: bool = False) -> tuple[nn.Module, dict[str, Any]]:
    """The model and the options it took; where the model has an option to take images of any size, it is on."""
    options = dict(options)
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)  # our own line names the reason, once
    build = partial(timm.create_model, name, features_only=True, pretrained=pretrained)
    try:
        if "img_size" not in options:
            sized = {"dynamic_img_size": True, **options}
            try:
                return build(**sized), sized
            except TypeError as error:
                if "dynamic_img_size" not in str(error):
                    raise
        return build(**options), options
    except Exception as error:  # timm, its hub's client and torch fail in many ways
        raise (_no_weights if pretrained else _misfit)(name, error) from error
    finally:
        hub.setLevel(level)


def _misfit(name: str, error: Exception) -> InputError:
    return InputError(
        f"timm cannot build network.backbone '{name}' with these network.backbone_options: {_first_line(error)}"
    )


def _no_weights(name: str, error: Exception) -> InputError:
    return InputError(
        f"network.pretrained is true, but timm's hub gave no weights of '{name}' ({_first_line(error)}): expected a "
        "network connection, or network.pretrained FILE"
    )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _single_stride_depth(model: nn.Module) -> int:
    """The number of blocks of a model with a single stride; 0 for pyramids."""
    blocks = getattr(getattr(model, "model", None), "blocks", ())
    info: Any = model.feature_info
    return len(blocks) if len(set(info.reduction())) == 1 else 0


def _stages(model: Any) -> tuple[dict[str, nn.Module], dict[str, nn.Module], set[str]] | None:
    """The layers before the first stage, the stages, and which of both give the model's maps; None without stages."""
    layers: dict[str, nn.Module] = dict(model.named_children())
    if "blocks" in layers and hasattr(model, "_stage_out_idx") and model.feature_hooks is None:
        blocks: Any = layers.pop("blocks")
        stages = {f"stage_{i}": stage for i, stage in enumerate(blocks, 1)}
        places = [list(layers)[-1], *stages]
        return layers, stages, {places[i] for i in model._stage_out_idx}
    names = list(layers)
    first = next((i for i, name in enumerate(names) if STAGE.fullmatch(name)), len(names))
    stages = {name: layers.pop(name) for name in names[first:]}
    if not stages or not all(map(STAGE.fullmatch, stages)) or not hasattr(model, "return_layers"):
        return None
    return layers, stages, set(model.return_layers)


def _ceil(length: int, part: int) -> int:
    return -(-length // part)
