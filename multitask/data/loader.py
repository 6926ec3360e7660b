"""Batches in an order that depends on the seed and the step alone."""

import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from experiment.errors import InputError
from multitask.data.samples import Dataset, Sample
from multitask.processes import Share, in_turn


class StepOrder(Sampler[list[int]]):
    """The images of steps `start` to `stop`: one permutation after another, each seeded by its epoch.

    Nothing needs to be saved to resume: a step's images follow from the seed. share: see `training_loader`.
    """

    def __init__(self, count: int, batch_size: int, seed: int, start: int, stop: int, share: Share | None = None):
        self.count, self.batch_size, self.seed, self.start, self.stop = count, batch_size, seed, start, stop
        self.part = slice(None) if share is None else slice(share.first, share.last)

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
            yield images[self.part]


class Loader(DataLoader[Sample]):
    """A DataLoader whose workers fail in one line: whatever one raises, and its death, is an InputError.

    They end as soon as the error leaves the iterator, not when Python forgets the error's frames.
    """

    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]
        if not self.num_workers:
            yield from super().__iter__()
            return
        iterator: Any = _started(super().__iter__)
        try:
            yield from iterator
        except InputError:
            raise
        except Exception as error:
            raise InputError(_explained(error, [worker.exitcode for worker in iterator._workers])) from error
        finally:
            iterator._shutdown_workers()


def _started(start: Any) -> Any:
    """An iterator with its workers, without torch's handler of their deaths, which raises an error in the middle of
    whatever the training process does; the iterator itself looks for them every five seconds.
    """
    former = signal.getsignal(signal.SIGCHLD)
    iterator = start()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, former)
    return iterator


def _explained(error: Exception, codes: list[int | None]) -> str:
    text = str(error)
    if "shared memory" in text or "shm" in text or -signal.SIGBUS in codes:
        return "a worker of data.workers found no room in shared memory: expected data.workers 0, or a larger /dev/shm"
    if isinstance(error, MemoryError):
        return "a worker of data.workers ran out of memory: expected fewer workers, or data.workers 0"
    dead = next((code for code in codes if code), None)
    if dead is not None:
        end = f"was killed by {signal.Signals(-dead).name}" if dead < 0 else f"ended with exit code {dead}"
        return f"a worker of data.workers {end}: expected it to go on; data.workers 0 shows what it does"
    places = re.findall(r'File "(.+?)", line (\d+)', text)
    place = f", {places[-1][0]}, line {places[-1][1]}" if places else ""
    last = text.strip().splitlines()[-1] if text.strip() else type(error).__name__
    return f"a worker of data.workers failed ({last}{place}): data.workers 0 shows the whole error"


def _quiet_worker(_: int) -> None:
    """Leaves signals to the training process, which then stops its workers; and explanations too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGBUS, signal.SIG_DFL)


def training_loader(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    pin: bool,
    share: Share | None = None,
) -> DataLoader[Sample]:
    """share: the part of every batch that is wanted, by default all."""
    order = StepOrder(len(dataset), batch_size, seed, start, stop, share)
    return _loader(dataset, workers, pin, batch_sampler=order)


def evaluation_loader(dataset: Dataset, batch_size: int, workers: int, pin: bool) -> DataLoader[Sample]:
    """Of several processes, each gets whole batches in turn."""
    return _loader(dataset, workers, pin, batch_sampler=in_turn(batches(len(dataset), batch_size)))


def batches(count: int, size: int) -> list[range]:
    """The images of each batch."""
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def _loader(dataset: Dataset, workers: int, pin: bool, **order: object) -> DataLoader[Sample]:
    # a generator of its own: starting workers would otherwise draw from the global one, and resuming differ
    return Loader(
        dataset,  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_quiet_worker if workers else None,
        generator=torch.Generator().manual_seed(0),
        **order,  # type: ignore[arg-type]
    )
