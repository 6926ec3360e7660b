"""The network without exchange: built, or taken from a retrain run or a checkpoint file (search.from)."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiment.config import Config
from experiment.errors import InputError
from experiment.run import read_identity
from multitask.data import DatasetSplits
from multitask.network import MultiTaskNetwork, exchange_channels
from multitask.training.checkpoints import checkpoint_path, read_checkpoint
from search_spaces import Architecture, SearchSpace, build_exchange

EXPECTED = "expected a retraining of --baseline uniform:none or multi_task, or a checkpoint of such a network"
AUXILIARY = "auxiliary_heads."


def network_without_exchange(config: Config, dataset: DatasetSplits, space: SearchSpace) -> MultiTaskNetwork:
    """The network whose exchange passes no message: the aggregator alone. All tasks have label regions."""
    none = Architecture.from_space(space, dict.fromkeys(space.pairs, "none"))
    exchange = build_exchange(none, exchange_channels(config.network, space.scales), seed=config.seed)
    return MultiTaskNetwork(config.network, dataset.tasks, exchange, tuple(dataset.tasks), seed=config.seed)


def read_network(where: str, seed: int) -> dict[str, Tensor]:
    """The state dict of a network: of a run's `seed_SEED`, or else its first seed; of a seed's folder; or of a file,
    which may hold it under `network`.

    Raises InputError if there is none, or it is damaged.
    """
    path = Path(where)
    if path.is_dir():
        seeds = sorted(path.glob("seed_*"), key=lambda folder: (folder.name != f"seed_{seed}", folder.name))
        folder = seeds[0] if seeds else path
        if not checkpoint_path(folder, "best").is_file():
            raise InputError(f"search.from '{where}' holds no checkpoints/best.pt: {EXPECTED}")
        return read_checkpoint(checkpoint_path(folder, "best"), read_identity(folder), "best")["network"]
    if not path.is_file():
        raise InputError(f"search.from '{where}': no such file or folder; {EXPECTED}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint fails in many ways
        reason = "it holds more than tensors" if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        raise InputError(f"search.from '{where}' cannot be loaded ({reason}): {EXPECTED}") from error
    state = content.get("network", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"search.from '{where}' holds no state dict: {EXPECTED}")
    return state


def load_network(network: MultiTaskNetwork, state: Mapping[str, Tensor], where: str) -> bool:
    """Loads the weights; where they were trained without aggregator, takes the network's exchange away.

    Whether the state has auxiliary heads; without them, the network's own remain as they are. Raises InputError where
    state and network do not fit.
    """
    if not any(key.startswith("exchange.") for key in state):
        network.exchange = None
    own = network.state_dict()
    auxiliary = any(key.startswith(AUXILIARY) for key in state)
    missing = [key for key in own if key not in state and (auxiliary or not key.startswith(AUXILIARY))]
    # an auxiliary head of a task that the search does not need is of no interest
    more = [key for key in state if key not in own and not key.startswith(AUXILIARY)]
    for keys, verb in ((missing, "lacks"), (more, "has")):
        if keys:
            count = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise InputError(f"search.from '{where}' {verb} '{keys[0]}'{count}: {EXPECTED}, of the same network")
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            raise InputError(
                f"search.from '{where}': '{key}' has shape {tuple(state[key].shape)}, expected {tuple(value.shape)}, "
                "as in this network"
            )
    network.load_state_dict({key: state.get(key, value) for key, value in own.items()})
    return auxiliary
