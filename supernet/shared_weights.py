"""An architecture on validation with the supernet's weights."""

import torch

from multitask.network import MultiTaskNetwork
from multitask.training.evaluation import Values
from multitask.training.trainer import Trainer
from search_spaces import Architecture
from supernet.supernet import Supernet


def evaluate_shared(training: Trainer, supernet: Supernet, architecture: Architecture, batches: int) -> Values:
    """Its metrics, batch statistics renewed over so many training batches; the supernet is left as it was.

    All architectures see the same training batches and crops.
    """
    network = training.network
    assert isinstance(network, MultiTaskNetwork)
    former = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.exchange = supernet.exchange.extract(architecture)
    try:
        training.recalibrate(batches)
        return training.validate("val")
    finally:
        network.exchange = supernet
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(former[name])
