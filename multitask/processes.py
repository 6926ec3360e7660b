"""What the processes of one command exchange. torchrun starts them, Hardware.fabric brings them together.

Together they do what one process does with the whole batch:

- Each takes its share of every batch's images (`share`), but draws the random numbers of all of them.
- Whatever is a mean over a batch is taken over all shares, inside `sharing`: batch norms, and means over masked pixels
  (`summed`). So every process knows the loss of the whole batch.
- Gradients of weights are averaged (`average_gradients`). With N processes each computes the gradient of N times what
  its own images add to the loss; the backward passes below keep to this.
- Validation and tests give whole batches to processes in turn (`in_turn`, `in_order`).
- Only the first reads what the run holds and decides (`from_first`, `any_of`, `led_by_first`).

Every function is the identity where there is one process, or where one works alone (experiment/processes.py).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from experiment import processes
from experiment.errors import InputError
from experiment.interruption import Interrupted
from multitask import batch_norm

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

_sharing = False


def count() -> int:
    """The processes that share the work."""
    return 1 if processes.works_alone() or not dist.is_initialized() else dist.get_world_size()


def rank() -> int:
    return dist.get_rank() if count() > 1 else 0


@dataclass(frozen=True)
class Share:
    """Images `first` to before `last` of a batch of `total`."""

    first: int
    last: int
    total: int

    def of(self, items: Tensor) -> Tensor:
        """The part of a tensor whose last dimension is the whole batch."""
        return items[..., self.first : self.last]


def share(total: int) -> Share:
    """This process's part of a batch; parts differ by one image at most. Raises InputError if one would be empty."""
    if total < count():
        raise InputError(f"training.batch_size is {total}: expected an image for each of {count()} processes")
    return Share(total * rank() // count(), total * (rank() + 1) // count(), total)


@contextmanager
def sharing() -> Iterator[None]:
    """While open, batch norms in training mode and `summed` reach over the shares of all processes."""
    with _shared(count() > 1), batch_norm.over(_sum if count() > 1 else None):
        yield


@contextmanager
def not_sharing() -> Iterator[None]:
    """Inside `sharing`: what follows is of this process's images alone."""
    with _shared(False):
        yield


@contextmanager
def _shared(value: bool) -> Iterator[None]:
    global _sharing
    former, _sharing = _sharing, value
    try:
        yield
    finally:
        _sharing = former


def shares_batches() -> bool:
    """Whether `sharing` is open, with others to share with."""
    return _sharing


def summed(*parts: Tensor) -> tuple[Tensor, ...]:
    """Each part's sum over the processes, inside `sharing`. All must compute the same from it."""
    if not _sharing:
        return parts
    sums: Tensor = _Sum.apply(torch.cat([part.flatten().double() for part in parts]))
    pieces = sums.split([part.numel() for part in parts])
    return tuple(piece.view(part.shape).to(part.dtype) for piece, part in zip(pieces, parts, strict=True))


def largest(value: Tensor) -> Tensor:
    """The largest of the processes' values, inside `sharing`. No gradient."""
    if not _sharing:
        return value
    value = value.detach().clone()
    _exchanged(lambda: dist.all_reduce(value, dist.ReduceOp.MAX))
    return value


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Tensor) -> Tensor:
        return _sum(parts.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * count()  # that of every process, which are all the same


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replaces gradients by their means over the processes, in one exchange for each kind of number."""
    if count() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
        of_kind = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = _sum(torch.cat([gradient.flatten() for gradient in of_kind])) / count()
        pieces = flat.split([gradient.numel() for gradient in of_kind])
        for gradient, piece in zip(of_kind, pieces, strict=True):
            gradient.copy_(piece.view(gradient.shape))


def check_alike(parameters: Sequence[nn.Parameter], when: str) -> None:
    """Raises InputError where the processes' weights are not the same, bit by bit. Waits for a GPU."""
    if count() == 1:
        return
    sums = gathered(torch.stack([parameter.detach().double().sum() for parameter in parameters]).tolist())
    if any(others != sums[0] for others in sums):
        raise InputError(f"{when}: the weights of the processes differ; expected the same devices and library versions")


def average(tensor: Tensor) -> Tensor:
    """The mean of a tensor over the processes, without gradient."""
    return tensor if count() == 1 else _sum(tensor.clone()) / count()


def rolled(maps: Tensor) -> Tensor:
    """maps.roll(1, 0) of the whole batch, inside `sharing`: each image's place goes to the one before. No gradient."""
    if not _sharing:
        return maps.roll(1, 0)
    own = maps[-1].contiguous()  # of channels-last maps it is not, and NCCL takes nothing else
    last = [torch.empty_like(own) for _ in range(count())]
    _exchanged(lambda: dist.all_gather(last, own))
    return torch.cat([last[rank() - 1][None], maps[:-1]])


def in_turn(items: Sequence[T]) -> list[T]:
    """This process's items: one for each in turn."""
    return list(items[rank() :: count()])


def in_order(items: list[T]) -> list[T]:
    """The results of all processes, in the order of what `in_turn` gave out."""
    parts = gathered(items)
    return [part[i] for i in range(len(parts[0])) for part in parts if i < len(part)]


def gathered(item: T) -> list[T]:
    """Each process's item, in all of them."""
    if count() == 1:
        return [item]
    items: list[Any] = [None] * count()
    _exchanged(lambda: dist.all_gather_object(items, item))
    return items


def from_first(compute: Callable[[], T]) -> T:
    """What the first process computes, in all of them; an error there ends all."""
    if count() == 1:
        return compute()
    items = [compute() if rank() == 0 else None]
    _exchanged(lambda: dist.broadcast_object_list(items, 0))
    return items[0]  # type: ignore[return-value]


def wait_for_all() -> None:
    """Returns once all processes are here."""
    gathered(None)


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process. Does not wait for a GPU."""
    return flag if count() == 1 else bool(_sum(torch.tensor(int(flag))))


def led_by_first(drive: Callable[[Callable[[A], B]], T], compute: Callable[[A], B], tolerated: type[Exception]) -> T:
    """drive(compute) in the first process; the others compute along, and get what it returns.

    tolerated: errors of `compute`, which all have at once, that `drive` may go on from.
    """
    if count() == 1:
        return drive(compute)
    if rank() > 0:
        while True:
            goes_on, content = from_first(lambda: (False, None))
            if not goes_on:
                return content  # type: ignore[return-value]
            with suppress(tolerated):
                compute(content)  # type: ignore[arg-type]

    def announced(content: A) -> B:
        from_first(lambda: (True, content))
        return compute(content)

    result = drive(announced)
    from_first(lambda: (False, result))
    return result


def _sum(tensor: Tensor) -> Tensor:
    _exchanged(lambda: dist.all_reduce(tensor))
    return tensor


def _exchanged(exchange: Callable[[], object]) -> None:
    """Raises Interrupted where another process has ended."""
    try:
        exchange()
    except RuntimeError as error:
        message = "another process of this run has ended; the same command with --resume goes on from the checkpoint"
        raise Interrupted(message) from error
