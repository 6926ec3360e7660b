"""Writes a retrained network for other programs, by torch.export or as ONNX, and checks the file against the network.

crosstalk export runs/found --format onnx --output found.onnx

The file takes images in RGB, (B, 3, H, W) in 0..1, of any number and any size of whole strides of the encoder (mostly
32 pixels), and normalises them itself. It gives class probabilities, depth in metres, unit normals, and probabilities
of edges and salient pixels, (B, c, H, W). Resize photos to about as many pixels as the training's images have.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from experiment.errors import InputError
from experiment.progress import announce_torch

if TYPE_CHECKING:
    from torch import Tensor

    from deployment.predictor import Predictor

FORMATS = {"torch": ".pt2", "onnx": ".onnx"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a retraining, or of one of its seeds")
    parser.add_argument("--format", choices=FORMATS, required=True, help="torch (torch.export, .pt2) or onnx")
    parser.add_argument("--output", metavar="FILE", required=True, help="the file, which must not exist yet")
    parser.add_argument("--seed", type=int, help="which of the run's networks; by default the first")
    parser.add_argument("--fp16", action="store_true", help="weights and activations in half precision")
    parser.add_argument("--exchange-only", action="store_true", help="the exchange alone: features to refined features")
    parser.add_argument(
        "--photos",
        metavar="PHOTO",
        nargs="+",
        default=[],
        help="files, folders or patterns on which the file is checked, beside noise; --fp16 needs some",
    )


def run(arguments: argparse.Namespace) -> None:
    output = Path(arguments.output)
    if output.exists():
        raise InputError(f"--output '{output}' exists: expected a new file")
    suffix = FORMATS[arguments.format]
    if output.suffix != suffix:
        raise InputError(f"--output '{output}': expected a file *{suffix}")
    if arguments.fp16 and not arguments.photos and not arguments.exchange_only:
        raise InputError("--fp16 without --photos: expected photos on which activations are measured")
    announce_torch()
    from deployment.export.exporting import export
    from deployment.export.formats import check_packages
    from deployment.loading import load

    check_packages(arguments.format)
    predictor = load(arguments.run, seed=arguments.seed)
    photos = _photos(predictor, arguments.photos)
    deviations = export(
        predictor, output, arguments.format, photos, half=arguments.fp16, exchange_only=arguments.exchange_only
    )
    listed = ", ".join(f"{name} {deviation:.2g}" for name, deviation in deviations.items())
    print(f"{output}: {output.stat().st_size:,} bytes; largest deviation from the network: {listed}")


def _photos(predictor: "Predictor", given: list[str]) -> "list[list[Tensor]]":
    """Each photo as the network takes it: resized, in 0..1, (1, 3, H, W), in one list for each photo."""
    from deployment.photos import find_photos

    found = find_photos(given, tuple(predictor.tasks) if predictor.images else ()) if given else []
    inputs = []
    for photo in found:
        image = photo.read()
        images = list(image.values()) if isinstance(image, dict) else [image]
        inputs.append([predictor.resized(one[None]) for one in images])
    return inputs
