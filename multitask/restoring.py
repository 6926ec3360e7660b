"""network.init_from: a new network starts with what another's checkpoint holds of the same name and shape.

Source: the initialisation study of the decoder-fission networks (Hickson et al.), where encoder, bottleneck and shared
stages of a network of one task start a network of several, and parts with a task's name do not match.
"""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from experiment.errors import InputError

BEST = Path("checkpoints") / "best.pt"


def restore_matching(network: nn.Module, path: str) -> str:
    """Copies every weight and statistic of the same name and shape; returns what was restored, in one line.

    path: a checkpoint, or the folder of a retrained seed. Raises InputError where it holds no weights or none matches.
    """
    file = Path(path) / BEST if Path(path).is_dir() else Path(path)
    state, own = _read(file, path), network.state_dict()
    names = [name for name, value in own.items() if name in state and state[name].shape == value.shape]
    if not names:
        raise InputError(f"network.init_from '{path}' has no weight of this network's names and shapes")
    with torch.no_grad():
        for name in names:
            own[name].copy_(state[name])
    parts: dict[str, list[int]] = {}
    for name in own:
        part = ".".join(name.split(".")[: 1 if name.startswith("encoder") else 2])
        counts = parts.setdefault(part, [0, 0])
        counts[0] += name in names
        counts[1] += 1
    words = [f"{part} {'all' if found == count else f'{found} of {count}'}" for part, (found, count) in parts.items()]
    restored = [word for word, (found, _) in zip(words, parts.values()) if found]
    fresh = [part for part, (found, _) in parts.items() if not found]
    return f"restored from {path}: {', '.join(restored)}; not restored: {', '.join(fresh) or 'nothing'}"


def _read(file: Path, given: str) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError(f"network.init_from '{given}': expected a checkpoint, or a folder with {BEST}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = type(error).__name__
        raise InputError(f"network.init_from '{given}' cannot be loaded ({reason}): expected a checkpoint") from error
    state = content.get("network", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"network.init_from '{given}' holds no weights: expected a checkpoint")
    return state
