"""What a run writes for TensorBoard, CSV tables and Weights & Biases: the one place that knows them.

`training.loggers` names those that a run uses. One more is a class with the methods of `Logger` and a line in
`LOGGERS`.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from experiment.errors import InputError
from experiment.processes import leads
from experiment.run import Run
from multitask.tasks.pictures import Array

Scalars = Mapping[str, float]
PROJECT = "crosstalk"  # in Weights & Biases


class Logger:
    """Of one kind of files; this base writes nothing. step: how many steps are done."""

    def scalars(self, values: Scalars, step: int) -> None: ...

    def image(self, name: str, pixels: Array, step: int) -> None:
        """pixels: (H, W, 3) uint8."""

    def text(self, name: str, text: str, step: int) -> None: ...

    def settings(self, values: Mapping[str, Any], results: Scalars) -> None:
        """Those of the run, and what came of them."""

    def close(self) -> None: ...


class TensorBoard(Logger):
    """Events in the run's folder; those of a stretch that is done again are dropped."""

    def __init__(self, run: Run, step: int):
        self.writer = SummaryWriter(str(run.folder), purge_step=step or None)

    def scalars(self, values: Scalars, step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def image(self, name: str, pixels: Array, step: int) -> None:
        self.writer.add_image(name, pixels, step, dataformats="HWC")

    def text(self, name: str, text: str, step: int) -> None:
        self.writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()), step)  # as code

    def settings(self, values: Mapping[str, Any], results: Scalars) -> None:
        # add_hparams would make a folder of its own
        for summary in hparams(dict(values), dict(results)):
            self.writer._get_file_writer().add_summary(summary)
        for name, value in results.items():
            self.writer.add_scalar(name, value)

    def close(self) -> None:
        self.writer.close()


class Csv(Logger):
    """csv/step_N/metrics.csv of a stretch that began at step N, by Lightning's CSVLogger."""

    def __init__(self, run: Run, step: int):
        from lightning_fabric.loggers import CSVLogger

        self.logger = CSVLogger(str(run.folder), name="csv", version=f"step_{step}")

    def scalars(self, values: Scalars, step: int) -> None:
        self.logger.log_metrics(dict(values), step)
        self.logger.save()

    def close(self) -> None:
        self.logger.finalize("success")


class Wandb(Logger):
    """A run in Weights & Biases, by Lightning's WandbLogger; resumed as the same one."""

    def __init__(self, run: Run, step: int):
        from pytorch_lightning.loggers import WandbLogger  # takes seconds

        folder = run.folder.resolve()
        own = hashlib.sha256(f"{run.identity} {folder}".encode()).hexdigest()[:16]
        name = f"{folder.parent.name}/{folder.name}"
        self.logger = WandbLogger(name, save_dir=str(folder), project=PROJECT, id=own, resume="allow")

    def scalars(self, values: Scalars, step: int) -> None:
        self.logger.log_metrics(dict(values), step)

    def image(self, name: str, pixels: Array, step: int) -> None:
        self.logger.log_image(name, [pixels], step)

    def text(self, name: str, text: str, step: int) -> None:
        self.logger.log_text(name, ["text"], [[text]], step=step)

    def settings(self, values: Mapping[str, Any], results: Scalars) -> None:
        self.logger.log_hyperparams(dict(values))
        self.logger.experiment.summary.update(dict(results))

    def close(self) -> None:
        self.logger.experiment.finish()


LOGGERS: dict[str, Callable[[Run, int], Logger]] = {"tensorboard": TensorBoard, "csv": Csv, "wandb": Wandb}


def check_loggers(names: Sequence[str]) -> None:
    """Raises InputError where a logger's package is missing."""
    if "wandb" in names and importlib.util.find_spec("wandb") is None:
        raise InputError("training.loggers names wandb, which is not installed: expected after pip install wandb")


class Loggers(Logger):
    """Those of a run, together; none in a process that does not lead."""

    def __init__(self, names: Sequence[str], run: Run, step: int = 0):
        self.all = [LOGGERS[name](run, step) for name in names] if leads() else []
        self.show_images = any(type(one).image is not Logger.image for one in self.all)

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def scalars(self, values: Scalars, step: int) -> None:
        for one in self.all:
            one.scalars(values, step)

    def image(self, name: str, pixels: Array, step: int) -> None:
        for one in self.all:
            one.image(name, pixels, step)

    def text(self, name: str, text: str, step: int) -> None:
        for one in self.all:
            one.text(name, text, step)

    def settings(self, values: Mapping[str, Any], results: Scalars) -> None:
        for one in self.all:
            one.settings(flat(values), results)

    def close(self) -> None:
        for one in self.all:
            one.close()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """{dotted key: value} of a configuration; what is no number, truth or text, as text."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return found
