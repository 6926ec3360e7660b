"""An architecture on validation with the supernet's weights."""

import torch

from multitask.network import MultiTaskNetwork
from multitask.training.evaluation import Values
from multitask.training.trainer import Trainer
from search_spaces import Architecture
from supernet.supernet import Supernet


def evaluate_shared(trainer: Trainer, architecture: Architecture, batches: int) -> Values:
    """The metrics of an architecture with the weights of the trained supernet, which is left as it was.

    Batch statistics are renewed over so many training batches. All architectures see the same batches and crops.
    """
    network = trainer.network
    assert isinstance(network, MultiTaskNetwork) and isinstance(network.exchange, Supernet)
    supernet = network.exchange
    former = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.exchange = supernet.exchange.extract(architecture)
    try:
        trainer.recalibrate(batches)
        return trainer.validate("val")
    finally:
        network.exchange = supernet
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(former[name])
