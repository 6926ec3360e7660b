"""Sizes of networks whose papers compare decoders; their multiply-adds are not published."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from analysis.measures.papers.row import Row
from experiment.config import DataSettings, NetworkSettings
from multitask.cost import parameter_count
from multitask.decoders import DECODERS, Decoder
from multitask.tasks import build_tasks
from retrain.model import Model
from search_spaces import Architecture

DILATED = {"output_stride": 16}
STRIDES = (4, 8, 16, 32)


def decoder_rows() -> Iterator[Row]:
    """Paper by paper."""
    yield from _deeplab()
    yield from _feature_propagation()
    yield from _densemtl()
    yield from _fission()


def _row(paper: str, name: str, parameters: int, published: int) -> Row:
    return Row(paper, "", name, parameters, None, published, None)


def _deeplab() -> Iterator[Row]:
    """ResNet-34, 19 classes; a source-only task is contour (as edge) or normals."""
    paper = "Joint, branched and distilled networks (course report), ResNet-34"
    published: Sequence[tuple[str, str, list[str], int]] = [
        ("joint", "deeplab_joint", [], 26_756_996),
        ("branched", "deeplab_branched", [], 32_183_220),
        ("distillation", "distillation", [], 36_949_960),
        ("distillation + contour", "distillation", ["edge"], 43_558_137),
        ("distillation + normals", "distillation", ["normals"], 43_562_747),
    ]
    for name, decoder, source_only, count in published:
        settings = NetworkSettings("resnet34", DILATED, decoder=decoder, channels=256, source_only=source_only)
        model = Model(name, refinement="self_attention" if decoder == "distillation" else None)
        yield _row(paper, name, _parameters(model, settings, ["semseg", "depth", *source_only], 19), count)


def _feature_propagation() -> Iterator[Row]:
    """What initial predictions and feature propagation add to ATRC's host, NYUD-v2's four tasks."""
    tasks = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
    for width, count in ((18, 7_845_000), (48, 55_660_000)):
        widths = [width * 2**i for i in range(4)]
        fpm, concat = (_decoder(name, widths, STRIDES, sum(widths) // 4, tasks) for name in ("fpm", "concat"))
        added = parameter_count(fpm) - parameter_count(concat)
        yield _row("Vandenhende et al., MTI-Net, ECCV 2020", f"FPM on HRNet{width}, added", added, count)


def _densemtl() -> Iterator[Row]:
    """ResNet-101, 14 classes, the exchange included."""
    for name, tasks, count in (
        ("S-D", ["semseg", "depth"], 87_399_070),
        ("S-D-N", ["semseg", "depth", "normals"], 111_006_564),
    ):
        exchange = Architecture.uniform(tuple(tasks), "xtam", "mteb", normalize_messages=False)
        settings = NetworkSettings("resnet101", DILATED, decoder="densemtl", channels=128)
        found = _parameters(Model(name, exchange), settings, tasks, 14)
        yield _row("Lopes et al., DenseMTL, WACV 2023", name, found, count)


def _fission() -> Iterator[Row]:
    """Stages and heads of 14 classes, normals and depth, without bottleneck, skips and early predictions."""
    tasks = {"semseg": 14, "normals": 3, "depth": 1}
    published = {"early": 13_728_200, "early_mid": 9_158_088, "mid": 4_587_976, "late": 4_595_528}
    for name, count in published.items():
        decoder = _decoder(f"fission_{name}", (256, 512, 2048), (4, 8, 16), 256, tasks)
        whole = nn.ModuleList([decoder, *(decoder.head(task) for task in tasks)])
        early = sum(parameter_count(decoder.get_submodule(f"parts.{task}.early")) for task in tasks)
        others = sum(parameter_count(decoder.get_submodule(part)) for part in ("aspp", "skips"))
        found = parameter_count(whole) - early - others
        yield _row("Hickson et al., decoder fission", name.replace("_", "-"), found, count)


def _parameters(model: Model, settings: NetworkSettings, tasks: Sequence[str], classes: int) -> int:
    with torch.device("meta"):
        return parameter_count(model.build(settings, build_tasks(tasks, DataSettings(), classes)))


def _decoder(
    name: str, channels: Sequence[int], strides: Sequence[int], width: int, tasks: Mapping[str, int]
) -> Decoder:
    with torch.device("meta"):
        return DECODERS[name](channels, strides, width, tasks)
