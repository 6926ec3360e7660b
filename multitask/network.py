"""The multi-task network: encoder, decoder, a slot that takes any exchange module, and one head per task.

Source: the host network of Bruggemann et al., ATRC, ICCV 2021.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiment.config import NetworkSettings
from experiment.errors import InputError, unknown
from multitask.backbones import Encoder, build_encoder, encoder_channels, encoder_reductions
from multitask.backbones.branched import BranchedEncoder
from multitask.branching import branching_of
from multitask.data import DatasetSplits
from multitask.data.samples import Image, first_image
from multitask.decoders import Decoded, Decoder, Early, decoder_class
from multitask.decoders.base import Scales, prediction
from multitask.initialization import seeded
from multitask.per_task import TaskDecoders, TaskEncoders, build_decoder
from multitask.resizing import resize
from multitask.restoring import restore_matching
from multitask.tasks import Task


@dataclass
class Outputs:
    """Raw outputs at the image's size: predictions (B, channels, H, W), auxiliary (B, R, H, W).

    early: predictions that precede the exchange, of decoders that train some.
    """

    predictions: dict[str, Tensor]
    auxiliary: dict[str, Tensor]
    early: list[Early] = field(default_factory=list)


def feature_channels(settings: NetworkSettings, channels: Sequence[int] | None = None) -> int:
    """C of each task's features: as set, or as the decoder has it. channels: of the encoder's maps, where known."""
    if settings.channels is not None:
        return settings.channels
    given = encoder_channels(settings) if channels is None else channels
    return decoder_class(settings.decoder).default_channels(given)


def feature_size(settings: NetworkSettings, height: int, width: int) -> tuple[int, int]:
    """(h, w) of each task's features for images of this size."""
    stride = decoder_class(settings.decoder).feature_reduction(encoder_reductions(settings))
    return -(-height // stride), -(-width // stride)


def exchange_channels(settings: NetworkSettings, scales: Sequence[int] = ()) -> int | dict[int, int]:
    """C of the features that tasks exchange; of several scales, {scale: C}.

    Raises InputError where the decoder has no features of these scales.
    """
    if not scales:
        return feature_channels(settings)
    widths = _scale_channels(settings)
    if not widths or settings.encoders == "per_task" or settings.branches is not None:
        raise InputError(
            f"tasks exchange at the scales {list(scales)}, which network.decoder {settings.decoder} does not have: "
            "expected space.scales [0], or the decoder fpm on a shared encoder without branches"
        )
    if max(scales) >= len(widths):
        raise InputError(f"space.scales is {list(scales)}: expected numbers from 0 to {len(widths) - 1}")
    return {scale: widths[scale] for scale in scales}


def _scale_channels(settings: NetworkSettings) -> tuple[int, ...]:
    return decoder_class(settings.decoder).scale_channels(encoder_channels(settings))


def exchange_size(
    settings: NetworkSettings, height: int, width: int, scales: Sequence[int] = ()
) -> tuple[int, int] | dict[int, tuple[int, int]]:
    """(h, w) of the features that tasks exchange, for images of this size; of several scales, {scale: (h, w)}."""
    if not scales:
        return feature_size(settings, height, width)
    strides = encoder_reductions(settings)
    return {scale: (-(-height // strides[scale]), -(-width // strides[scale])) for scale in scales}


def check_encoders(settings: NetworkSettings, dataset: DatasetSplits) -> None:
    """Raises InputError where tasks have images of their own and the encoder is shared."""
    if dataset.images and settings.encoders == "shared":
        raise InputError(
            f"network.encoders is shared, but {dataset.name} has an image for each task: expected per_task"
        )


class MultiTaskNetwork(nn.Module):
    """Encoder, decoder, exchange and heads; a head is the decoder's, by default a 1x1 convolution, followed by bilinear
    upsampling.

    With `network.encoders: per_task`, encoder and decoder are those of multitask/per_task.py, one for each task. With
    `network.branches`, tasks share the units of the encoder that its tree says, and tasks that share all have a common
    decoder.

    Initial weights depend on the seed and the part's name alone: networks of one seed share those of all common parts,
    whatever their exchanges, tasks and auxiliary heads.

    exchange: called as `exchange(features, regions, valid)` with {task: (B, C, h, w)}, {task: (B, R, h, w)} and
        (B, 1, h, w) bool or None; returns {task: (B, C, h, w)}. None leaves the features as they are. One with an
        attribute `scales` that is not empty refines the features of a decoder with scales before they are joined: all
        it is called with, and what it returns, is by scale, {scale: {task: ...}}.
    auxiliary: the tasks that get an auxiliary prediction of label regions. Its input carries no gradient to the
        encoder, but the final loss does train it through the exchange.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        tasks: Mapping[str, Task],
        exchange: nn.Module | None = None,
        auxiliary: Sequence[str] = (),
        *,
        seed: int = 0,
    ):
        super().__init__()
        self.settings, self.tasks = settings, dict(tasks)
        self.encoder: nn.Module
        self.decoder: Decoder | TaskDecoders
        widths = {name: task.channels for name, task in tasks.items()}
        tree = branching_of(settings, list(tasks))
        if settings.encoders == "per_task":
            self.encoder = encoders = TaskEncoders(settings, list(tasks), seed)
            channels = feature_channels(settings, encoders.channels)
            self.decoder = TaskDecoders(settings, cast(Encoder, encoders), channels, widths, seed)
        elif tree is not None:
            tree = tree.of(list(tasks))
            with seeded(seed, "encoder"):
                self.encoder = branched = BranchedEncoder(build_encoder(settings), tree, settings.backbone)
            channels = feature_channels(settings, branched.channels)
            self.decoder = TaskDecoders(settings, cast(Encoder, branched), channels, widths, seed, tree.units[-1])
        else:
            with seeded(seed, "encoder"):
                self.encoder = build_encoder(settings)
            encoder = cast(Encoder, self.encoder)
            channels = feature_channels(settings, encoder.channels)
            self.decoder = build_decoder(settings, encoder, channels, widths, seed)
        self.exchange = exchange
        self.heads = nn.ModuleDict()
        for name in tasks:
            with seeded(seed, "head", name):
                self.heads[name] = self.decoder.head(name)
        self.auxiliary_heads = nn.ModuleDict()
        for name in auxiliary:
            with seeded(seed, "auxiliary_head", name):
                self.auxiliary_heads[name] = _auxiliary_head(self.decoder.shared_channels, tasks[name].region_count)
        self.restored = ""  # what `network.init_from` gave
        if settings.init_from is not None and not next(self.parameters()).is_meta:
            self.restored = restore_matching(self, settings.init_from)
        if self.encoder_frozen:
            self.encoder.requires_grad_(False)

    @property
    def encoder_frozen(self) -> bool:
        return self.settings.backbone_rate == 0

    def train(self, mode: bool = True) -> "MultiTaskNetwork":
        super().train(mode)
        if self.encoder_frozen:  # its batch norms keep their statistics
            self.encoder.eval()
        return self

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What `network.backbone_rate` applies to."""
        return list(self.encoder.parameters())

    def initialize_heads(self, biases: Mapping[str, Tensor]) -> None:
        """Sets the biases of prediction heads, {task: (channels,)}. Raises InputError where one does not fit."""
        for name, bias in biases.items():
            if name not in self.heads:
                raise unknown("task of a head's bias", name, self.heads)
            own = _bias(self.heads[name])
            if bias.shape != own.shape:
                raise InputError(
                    f"the bias of {name} has shape {tuple(bias.shape)}: expected {tuple(own.shape)}, one per channel"
                )
            with torch.no_grad():
                own.copy_(bias)

    def forward(self, image: Image, valid: Tensor | None = None) -> Outputs:
        """image: (B, 3, H, W), or with an encoder for each task {task: (B, 3, H, W)} of these tasks and perhaps others;
        valid: (B, 1, H, W) bool, False on padding.
        """
        (features, _, early), regions = self.decode(image, valid)
        refined = self.refine(features, regions, valid)
        size = first_image(image).shape[2:]
        enlarged = [one._replace(predictions=enlarge(one.predictions, size)) for one in early]
        return Outputs(self.predict(refined, size), enlarge(regions, size), enlarged)

    def features(self, image: Image) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The image, or {task: image} -> what the exchange reads: {task: features (B, C, h, w)} and, of the tasks with
        an auxiliary head, the logits of the label regions, {task: (B, R, h, w)}. With scales, the exchange lies before.
        """
        decoded, regions = self.decode(image)
        return decoded.features, regions

    @property
    def _scaled(self) -> bool:
        """Whether the exchange refines several scales of the decoder's features."""
        return bool(getattr(self.exchange, "scales", ()))

    def decode(self, image: Image, valid: Tensor | None = None) -> tuple[Decoded, dict[str, Tensor]]:
        """What the decoder makes of the image, and the logits of the label regions; the arguments of `forward`, whose
        `valid` scales read.
        """
        maps = self.encoder(image)
        regions: dict[str, Tensor] = {}
        if not self._scaled:
            decoded = Decoded(*self.decoder(maps))
            return decoded, self._regions(decoded.shared)

        def refine(features: Scales, shared: Tensor) -> Scales:
            regions.update(self._regions(shared))
            return self._refine_scales(features, regions, valid)

        return Decoded(*self.decoder(maps, refine)), regions

    def _regions(self, shared: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: logits of its label regions (B, R, h, w)}"""
        return {
            name: head((shared if isinstance(shared, Tensor) else shared[name]).detach())
            for name, head in self.auxiliary_heads.items()
        }

    def _refine_scales(self, features: Scales, regions: Mapping[str, Tensor], valid: Tensor | None) -> Scales:
        """The exchange at several scales; label regions are shrunk to each."""
        assert self.exchange is not None
        of_scale, masks = {}, {}
        for scale in self.exchange.scales:  # type: ignore[union-attr]
            size = next(iter(features[scale].values())).shape[2:]
            of_scale[scale] = {name: resize(logits, size) for name, logits in regions.items()}
            masks[scale] = shrink(valid, features[scale])
        return self.exchange(features, of_scale, None if valid is None else masks)

    def refine(
        self, features: dict[str, Tensor], regions: Mapping[str, Tensor], valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The exchange, {task: (B, C, h, w)} -> the same; valid at the image's size."""
        if self.exchange is None or self._scaled:
            return features
        refined = self.exchange(features, regions, shrink(valid, features))
        return refined | {name: features[name] for name in self.settings.source_only if name in features}

    def predict(self, refined: Mapping[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """{task: (B, C, h, w)}, of some or all tasks -> raw predictions {task: (B, channels, H, W)}; size: (H, W)."""
        return enlarge({name: self.heads[name](maps) for name, maps in refined.items()}, size)


def check_network(settings: NetworkSettings, tasks: Mapping[str, Task], height: int, width: int) -> None:
    """Raises InputError if no such network can be built, or if it takes no images of this size.

    On the meta device, where nothing is computed.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            network = MultiTaskNetwork(replace(settings, pretrained=False, init_from=None), tasks).eval()
            network(torch.empty(1, 3, height, width))
    except InputError:
        raise
    except Exception as error:  # a user's encoder or decoder, and timm's models, may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"network.backbone '{settings.backbone}' with decoder '{settings.decoder}' fails on images of "
            f"{height}x{width} ({reason}): expected other data.height and data.width, or network.backbone_options"
        ) from error


def shrink(valid: Tensor | None, features: Mapping[str, Tensor]) -> Tensor | None:
    """The validity mask (B, 1, H, W) at the features' size."""
    if valid is None:
        return None
    size = next(iter(features.values())).shape[2:]
    return F.interpolate(valid.float(), size=size, mode="nearest").bool()


def enlarge(maps: Mapping[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
    """Raw outputs to the image's (H, W), bilinear, fp32."""
    return {name: resize(m.float(), size) for name, m in maps.items()}


def _bias(head: nn.Module) -> Tensor:
    """The bias of a head's raw outputs, (channels,)."""
    found = [m.bias for m in (head, *reversed(list(head.modules()))) if isinstance(getattr(m, "bias", None), Tensor)]
    return cast(Tensor, found[0])


def _auxiliary_head(channels: int, regions: int) -> nn.Sequential:
    mix = nn.Conv2d(channels, channels, 1, bias=False)
    return nn.Sequential(mix, nn.BatchNorm2d(channels), nn.ReLU(), prediction(channels, regions))
