"""Held-out images at the exchange of a trained network, with each task's loss as a function of refined features."""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from experiment.progress import track
from multitask import processes
from multitask.data import Batch
from multitask.data.loader import evaluation_loader
from multitask.data.samples import plain_batch
from multitask.network import MultiTaskNetwork, shrink
from multitask.sending import send
from multitask.tasks import Task
from multitask.training.finite import Diverged, first_not_finite, trace
from multitask.training.trainer import Trainer
from supernet.score_test.evidence import HeldOut
from supernet.search_split import Images

BATCH = 16  # held-out images at a time, at least


def held_out_size(batch_size: int) -> int:
    """Held-out images at a time, where a training step takes this many."""
    return max(BATCH, batch_size)


def held_out_batches(trainer: Trainer, images: Images, signs: torch.Generator | None = None) -> Iterator[HeldOut]:
    """Batches of held-out images; with `signs`, every image's losses get a random sign drawn from it. Several processes
    take batches in turn.

    Raises Diverged for features that are not finite.
    """
    network = trainer.network
    assert isinstance(network, MultiTaskNetwork)
    batch_size = held_out_size(trainer.settings.batch_size)
    pin = trainer.device.type == "cuda"
    loader = evaluation_loader(images, batch_size, trainer.recipe.data.workers, pin)  # type: ignore[arg-type]
    drawn = None if signs is None else 2.0 * torch.randint(2, (len(images),), generator=signs) - 1
    firsts = processes.in_turn(range(0, len(images), batch_size))
    batches = track(loader, trainer.phase("held-out images"), unit="batch")
    for first, sample in zip(firsts, batches, strict=True):
        batch = plain_batch(sample, trainer.device)
        with torch.no_grad():
            features, regions = network.features(batch.image)
        name = first_not_finite({"features": features, "regions": regions})
        if name is not None:
            tensor = trace(network, partial(network.features, batch.image))
            raise Diverged(f"step {trainer.step}, held-out images: {name} not finite, first tensor: {tensor}")
        sign = None
        if drawn is not None:
            sign = send(drawn[first : first + len(batch)], trainer.device)
        losses = partial(image_losses, network, trainer.tasks, batch, sign)
        yield HeldOut(features, regions, losses, shrink(batch.valid, features), first)


def image_losses(
    network: MultiTaskNetwork,
    tasks: Mapping[str, Task],
    batch: Batch,
    sign: Tensor | None,
    refined: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Each task's loss on each image, (B,), of refined features {task: (B, C, h, w)}."""
    predictions = network.predict({name: refined[name] for name in tasks}, batch.size)
    losses = {}
    for name, task in tasks.items():
        each = task.image_losses(predictions[name], batch.labels[name], batch.masks[name])
        losses[name] = each if sign is None else each * sign
    return losses
