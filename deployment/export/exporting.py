"""From a trained network to a file that is checked against it."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from deployment.export.formats import FORMATS, trace
from deployment.export.half import check_range
from deployment.export.modules import ExchangeAlone, Exportable, WholeNetwork
from deployment.predictor import Predictor
from experiment.errors import InputError
from experiment.files import replacing

TOLERANCE = 1e-3  # in fp32, of the largest output


def export(
    predictor: Predictor,
    path: Path,
    kind: str,
    photos: Sequence[Sequence[Tensor]],
    *,
    half: bool = False,
    exchange_only: bool = False,
) -> dict[str, float]:
    """Writes the network, or its exchange alone, in a format of `FORMATS`; {output: the largest deviation of the file
    from the network in fp32}, over the photos and noise of another size than the network was traced with.

    photos: inputs of the network, (1, 3, H, W) in 0..1 each, in one list for each photo. half: weights and activations
    in fp16; outputs remain fp32.

    Raises InputError, and writes nothing, for what cannot be exported, for activations beyond fp16, and where the file
    computes something else.
    """
    build = ExchangeAlone if exchange_only else WholeNetwork
    full: Exportable = build(predictor).eval()
    module: Exportable = build(predictor, half).eval() if half else full
    unit = full.stride
    example = module.example(2, 18 * unit, 12 * unit)  # maps of several tiles, of which one would be taken for all
    given = [] if exchange_only else [[_whole(image, unit) for image in one] for one in photos]
    checked = [full.example(3, 10 * unit, 17 * unit), *given]
    if half:
        print(check_range(module, checked))
    about = {
        "tasks": list(predictor.tasks),
        "classes": predictor.classes,
        "size": list(predictor.size),
        "inputs": full.inputs,
        "outputs": full.outputs,
    }
    with replacing(path) as temporary:
        run = FORMATS[kind](trace(module, example), module, temporary, about)
        deviations = dict.fromkeys(full.outputs, 0.0)
        for inputs in checked:
            with torch.no_grad():
                expected = full(*inputs)
            for name, ours, theirs in zip(full.outputs, expected, run(inputs), strict=True):
                found = float((theirs - ours).abs().max())
                limit = torch.inf if half else TOLERANCE * max(1.0, float(ours.abs().max()))
                if not found <= limit or found == torch.inf:
                    raise InputError(
                        f"the file's {name} differs from the network's by {found:.3g}, on images of "
                        f"{inputs[0].shape[3]}x{inputs[0].shape[2]}: expected at most {limit:.3g}; nothing is written"
                    )
                deviations[name] = max(deviations[name], found)
    return deviations


def _whole(image: Tensor, stride: int) -> Tensor:
    """(1, 3, H, W), padded to whole strides."""
    bottom, right = -image.shape[2] % stride, -image.shape[3] % stride
    return F.pad(image, (0, right, 0, bottom), mode="replicate")
