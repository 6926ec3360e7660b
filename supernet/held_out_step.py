"""A step of logits on images that the weights do not learn from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from multitask.data import Sample
from multitask.training.trainer import Trainer
from search_spaces.blocks.layers import frozen_statistics
from supernet.search_split import Images


class HeldOutStep:
    """logits: they take no gradient but in such a step. images: of the search-validation split."""

    def __init__(self, logits: nn.Parameter, optimizer: torch.optim.Optimizer, images: Images, iterations: int):
        self.logits, self.optimizer, self.images, self.iterations = logits, optimizer, images, iterations
        self.samples: Iterator[Sample] | None = None  # from the first step to the last, or its workers stay behind
        logits.requires_grad_(False)

    def take(self, trainer: Trainer, done: int, regularization: Callable[[], Tensor | float]) -> None:
        """After the weights' step `done`. trainer: of the weights; regularization: a term of the logits' loss."""
        if self.samples is None:
            self.samples = iter(trainer.loader(self.images, done - 1, self.iterations))  # type: ignore[arg-type]
        sample = next(self.samples)
        with self._logits_learn(trainer):
            batch = trainer.augment(sample, trainer.device)
            losses = trainer.losses(trainer.model(batch.image, batch.valid), batch)
            trainer.watch(done, {f"held-out loss of {name}": loss for name, loss in losses.items()}, batch)
            total = torch.stack(list(losses.values())).sum() + regularization()
            if total.requires_grad:  # not so where `none` was drawn for every pair
                trainer.backward(total, [self.logits])
        trainer.clip([self.logits])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def end(self) -> None:
        self.samples = None

    @contextmanager
    def _logits_learn(self, trainer: Trainer) -> Iterator[None]:
        """While open, gradients reach the logits and no weights, so that little needs to be kept for them, and the
        images leave no trace in batch statistics.
        """
        trainable = [parameter for parameter in trainer.parameters if parameter.requires_grad]
        self.logits.requires_grad_(True)
        for parameter in trainable:
            parameter.requires_grad_(False)
        try:
            with frozen_statistics(trainer.network):
                yield
        finally:
            self.logits.requires_grad_(False)
            for parameter in trainable:
                parameter.requires_grad_(True)
