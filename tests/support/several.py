"""A command in several processes, as torchrun would start them, forked from this one; they can be killed."""

import os
import socket
import time

from tests.support.forked import Command


class Together:
    """count: processes; their output goes to LOG.0, LOG.1, ..."""

    def __init__(self, script, arguments, log, count, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.commands = []
        former = dict(os.environ)
        try:
            for rank in range(count):
                os.environ.update(
                    WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count), RANK=str(rank), LOCAL_RANK=str(rank),
                    MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                )  # fmt: skip
                self.commands.append(Command(script, arguments, log.with_suffix(f".{rank}"), **options))
        finally:
            os.environ.clear()
            os.environ.update(former)

    def wait(self, timeout):
        """Until all have ended; they are killed once so many seconds have passed."""
        end = time.monotonic() + timeout
        for command in self.commands:
            command.wait(max(0.0, end - time.monotonic()))
        for command in self.commands:
            if command.process.is_alive():
                command.process.kill()
        return [command.done() for command in self.commands]


def run(script, arguments, log, count, timeout=120):
    """Of each process, how it ended."""
    return Together(script, arguments, log, count).wait(timeout)
