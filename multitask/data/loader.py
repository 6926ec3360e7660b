"""Batches in an order that depends on the seed and the step alone."""

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from multitask.data.samples import Dataset, Sample


class StepOrder(Sampler[list[int]]):
    """The images of steps `start` to `stop`: one permutation after another, each seeded by its epoch.

    Nothing needs to be saved to resume: a step's images follow from the seed.
    """

    def __init__(self, count: int, batch_size: int, seed: int, start: int, stop: int):
        self.count, self.batch_size, self.seed, self.start, self.stop = count, batch_size, seed, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, []
        for step in range(self.start, self.stop):
            images = []
            for position in range(step * self.batch_size, (step + 1) * self.batch_size):
                if position // self.count != epoch:
                    epoch = position // self.count
                    generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
                    order = torch.randperm(self.count, generator=generator).tolist()
                images.append(order[position % self.count])
            yield images


def _quiet_worker(_: int) -> None:
    """Leaves signals to the training process, which then stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def training_loader(
    dataset: Dataset, batch_size: int, seed: int, start: int, stop: int, workers: int, pin: bool
) -> DataLoader[Sample]:
    order = StepOrder(len(dataset), batch_size, seed, start, stop)
    return _loader(dataset, workers, pin, batch_sampler=order)


def evaluation_loader(dataset: Dataset, batch_size: int, workers: int, pin: bool) -> DataLoader[Sample]:
    return _loader(dataset, workers, pin, batch_size=batch_size)


def _loader(dataset: Dataset, workers: int, pin: bool, **order: object) -> DataLoader[Sample]:
    # a generator of its own: starting workers would otherwise draw from the global one, and resuming differ
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_quiet_worker if workers else None,
        generator=torch.Generator().manual_seed(0),
        **order,  # type: ignore[arg-type]
    )
