"""The commands in processes forked from this one, which has loaded what they need; they can be killed."""

import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from pathlib import Path

from search import main as search_main
from tests.support.commands import CONFIG, SHORT, Done, short
from tests.support.retraining import main as retrain_main

LATE = ["multitask.backbones.timm_encoder", "retrain.retraining", "supernet.search", "supernet.loss_weights.search"]
LATE += ["supernet.strategies.nni_samplers"]
for name in LATE:  # what the commands import when they need it
    importlib.import_module(name)
MAINS = {"search": search_main, "retrain": retrain_main}
FORK = multiprocessing.get_context("fork")


class Command:
    """A running command; its output goes to a file. kill_after: SIGKILL by its own hand after so many checkpoints."""

    def __init__(self, script, arguments, log, kill_after=None):
        self.log = Path(log)
        line = ["--config", str(CONFIG), *short(*arguments, defaults=SHORT)]
        self.process = FORK.Process(target=_run, args=(MAINS[script], line, self.log, kill_after))
        self.process.start()

    def wait(self, timeout=None):
        """True once it has ended."""
        self.process.join(timeout)
        return self.process.exitcode is not None

    def done(self):
        self.process.join()
        out, _, err = self.log.read_text().partition("\0")
        return Done(self.process.exitcode, out, err)


def run(script, arguments, log, kill_after=None):
    return Command(script, arguments, log, kill_after).done()


def _run(main, line, log, kill_after):
    if kill_after is not None:
        _killing(kill_after)
    with log.open("w") as out, log.with_suffix(".err").open("w+") as err:
        sys.stdout, sys.stderr = out, err
        try:
            code = main(line)
        except BaseException:  # what a user would see as a traceback
            traceback.print_exc()
            code = 1
        err.seek(0)
        out.write("\0" + err.read())
    os._exit(code)


def _killing(kill_after):
    from multitask.training import trainer

    save, count = trainer.save_checkpoint, [0]

    def save_and_die(*arguments):
        save(*arguments)
        count[0] += 1
        if count[0] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.save_checkpoint = save_and_die
