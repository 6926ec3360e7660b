"""Pretrained weights of an encoder from a file."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiment.errors import InputError

SHOWN = 3  # keys in a message


def load_weights(encoder: nn.Module, file: str, name: str, cut: bool = False) -> None:
    """Loads all of the encoder's weights from a state dict in a .pt, .pth or .safetensors file.

    The file's keys are those of the whole model that timm builds under this name. What belongs to a classifier or to
    another part that the encoder lacks is left out. Raises InputError where the two do not fit.

    cut: whether the encoder ends before the model does; the file may then hold more stages.
    """
    where = f"network.pretrained '{file}'"
    state = {_canonical(key): (key, value) for key, value in _read(file, name).items()}
    own = encoder.state_dict()
    missing = [key for key in own if _canonical(key) not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise InputError(f"{where} lacks {_shown(missing)}: expected a state dict of {name}")
    for key, value in own.items():
        if _canonical(key) in state:
            shape = state[_canonical(key)][1].shape
            if shape != value.shape:
                raise InputError(
                    f"{where}: '{_plain(key)}' has shape {tuple(shape)}, expected {tuple(value.shape)}, as in {name}"
                )
    parts, known = {_part(key) for key in own}, {_canonical(key) for key in own}
    # a deeper model holds all that a shallower one needs
    more = [key for canonical, (key, _) in state.items() if canonical not in known and _part(key) in parts]
    if more and not cut:
        raise InputError(f"{where} has {_shown(more)} too: expected a state dict of {name}")
    encoder.load_state_dict({key: state[_canonical(key)][1] if _canonical(key) in state else own[key] for key in own})


def _read(file: str, name: str) -> dict[str, Tensor]:
    path = Path(file)
    if not path.is_file():
        raise InputError(f"network.pretrained '{file}': no such file")
    try:
        state: Any
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint fails in many ways
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, pickle.UnpicklingError):  # torch's message recommends an unsafe load
            first = "it is no checkpoint, or holds more than tensors"
        raise InputError(f"network.pretrained '{file}' cannot be loaded: expected a state dict ({first})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"network.pretrained '{file}' holds other things: expected a state dict of {name}")
    return state


def _plain(key: str) -> str:
    return key.removeprefix("model.").removeprefix("model.")


def _canonical(key: str) -> str:
    """A key without the wrappers' prefixes and with one separator: features_only turns `stages.0` into `stages_0`."""
    return _plain(key).replace(".", "_")


def _part(key: str) -> str:
    """The part of the model that a key belongs to: `stages` of `stages.0.weight` and of `stages_0.weight`."""
    return re.sub(r"_\d+$", "", _plain(key).partition(".")[0])


def _shown(keys: list[str]) -> str:
    listed = ", ".join(f"'{_plain(key)}'" for key in keys[:SHOWN])
    return listed + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
