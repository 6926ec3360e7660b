"""Several processes, as torchrun would start them, forked from this one: of a command, or of a function."""

import os
import socket
import time
from contextlib import contextmanager
from multiprocessing.connection import wait

import torch

from multitask.training.hardware import Hardware
from tests.support.forked import FORK, Command

TIMEOUT = 120  # seconds
GRACE = 5  # seconds between the first that refuses and the end of all


@contextmanager
def _as_rank(rank, count, port):
    former = dict(os.environ)
    numbers = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ.update({name: str(number) for name, number in numbers.items()}, MASTER_ADDR="127.0.0.1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(former)


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _end(processes):
    """Waits for all. Once one has refused, the others are killed, as torchrun would; after TIMEOUT whatever runs is."""
    end = time.monotonic() + TIMEOUT
    while (left := end - time.monotonic()) > 0 and (running := [p.sentinel for p in processes if p.exitcode is None]):
        wait(running, left)
        if any(process.exitcode == 2 for process in processes):
            end = min(end, time.monotonic() + GRACE)
    for process in processes:
        process.kill()
        process.join()


def run(script, arguments, log, count, kill_after=None):
    """How each process of a command ended; their output goes to LOG.0, LOG.1, ...

    kill_after: {rank: number of checkpoints after which SIGKILL ends it}.
    """
    commands, port = [], _port()
    for rank in range(count):
        with _as_rank(rank, count, port):
            path = log.with_suffix(f".{rank}")
            commands.append(Command(script, arguments, path, (kill_after or {}).get(rank)))
    _end([command.process for command in commands])
    killed = kill_after or {}
    return [command.process.exitcode if rank in killed else command.done() for rank, command in enumerate(commands)]


def each(function, count, folder):
    """What function() returns in each of several processes that have met."""
    processes, port = [], _port()
    for rank in range(count):
        with _as_rank(rank, count, port):
            processes.append(FORK.Process(target=_call, args=(function, folder / f"result_{rank}.pt")))
            processes[-1].start()
    _end(processes)
    return [torch.load(folder / f"result_{rank}.pt", weights_only=True) for rank in range(count)]


def _call(function, path):
    Hardware("cpu").fabric()
    torch.save(function(), path)
    os._exit(0)  # the test's own end is not this process's
