"""Data workers that fail: the command ends in one line and leaves no process behind."""

import multiprocessing
import os
import signal

import pytest
import torch

from experiment.command import exit_code
from experiment.errors import InputError
from multitask.data.loader import evaluation_loader, training_loader


def refuse():
    raise InputError("images/a.jpg: cannot be read as an image")


def divide():
    return 1 / 0


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def break_bus():
    """What a worker meets that writes to a /dev/shm without room."""
    os.kill(os.getpid(), signal.SIGBUS)


def exhaust():
    raise MemoryError


def fill_shared_memory():
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


class Failing(torch.utils.data.Dataset):
    """Six images, of which the fourth fails."""

    def __init__(self, fail):
        self.fail = fail

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 3:
            self.fail()
        return {"image": torch.full((1,), index), "labels": {}, "masks": {}}


WAYS = [
    (refuse, ["error: images/a.jpg: cannot be read as an image"]),
    (divide, ["ZeroDivisionError: division by zero", "test_workers.py, line", "data.workers 0"]),
    (lambda: os._exit(3), ["ended with exit code 3", "data.workers 0"]),
    (kill, ["killed by SIGKILL", "data.workers 0"]),
    (break_bus, ["shared memory", "/dev/shm", "data.workers"]),
    (exhaust, ["ran out of memory", "data.workers"]),
    (fill_shared_memory, ["shared memory", "/dev/shm", "data.workers"]),
]


@pytest.mark.parametrize(("fail", "parts"), WAYS, ids=["input", "bug", "exit", "kill", "bus", "memory", "shm"])
def test_a_worker_that_fails_ends_the_command_in_one_line(fail, parts, capfd):
    def command():
        for _ in evaluation_loader(Failing(fail), 2, workers=2, pin=False):
            pass

    assert exit_code(command) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    for part in parts:
        assert part in lines[0], (part, lines[0])
    assert multiprocessing.active_children() == []


def test_no_worker_outlives_an_error_of_the_training():
    kept = []  # the error's frames hold the loader's iterator, as a debugger or a chain of causes may

    def command():
        try:
            for _ in training_loader(Failing(lambda: None), 2, seed=0, start=0, stop=50, workers=2, pin=False):
                raise InputError("the loss is nan")
        except InputError as error:
            kept.append(error)
            raise

    assert exit_code(command) == 2 and kept
    assert multiprocessing.active_children() == []
