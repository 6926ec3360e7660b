"""The one training loop, for the search and for retraining."""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from experiment.config import DataSettings, LossWeightSettings, TrainingSettings
from experiment.errors import InputError, unknown
from experiment.interruption import Interrupted, Interruption
from experiment.progress import Progress
from experiment.run import Run
from multitask.cost import peak_memory
from multitask.data import Batch, DatasetSplits
from multitask.data.augmentation import Augmentation
from multitask.data.loader import training_loader
from multitask.network import Outputs
from multitask.tasks import Task
from multitask.training.evaluation import Values, evaluate
from multitask.training.loss_weighting import UncertaintyWeighting, check_weighting, read_weights

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
DEVICES = ("auto", "cpu", "cuda")
OPTIMIZERS = ("adamw", "sgd")


class Diverged(InputError):
    """The loss is no longer finite."""


class Callback:
    """What a procedure adds to the training of weights; this base adds nothing."""

    def begin(self, run: Run, step: int) -> None:
        """Called once before the first step, `step` steps being done."""

    def before_step(self, step: int) -> None:
        """Called before step `step`, counted from 0."""

    def loss(self) -> Tensor | float:
        """Added to the tasks' losses."""
        return 0.0

    def parameters(self) -> list[nn.Parameter]:
        """Parameters that the callback updates itself; their gradients are clipped with the weights'."""
        return []

    def after_step(self, done: int) -> None:
        """Called after the weights' update, `done` steps being done."""

    def end(self) -> None:
        """Called after the last step, or when the training is stopped: the time to let go of what was opened."""

    def figures(self) -> dict[str, float]:
        """For the log line and TensorBoard."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""


@dataclass(frozen=True)
class Hardware:
    """Where and how a run computes. Raises InputError for a device that is not there or an unknown precision."""

    device: str = "auto"
    precision: str = "fp32"

    def fabric(self) -> Fabric:
        if self.device not in DEVICES:
            raise unknown("device", self.device, DEVICES)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device is cuda, but torch sees no GPU: expected auto or cpu")
        accelerator = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS may differ between runs
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a debugging aid that costs a tenth of a step
        return Fabric(accelerator=accelerator, devices=1, precision=PRECISIONS[self.precision])  # type: ignore[arg-type]


def loss_weights(tasks: Mapping[str, Task], settings: LossWeightSettings) -> dict[str, float]:
    """One weight per task; 1 where weights are learned. Raises InputError for settings that cannot be followed."""
    check_weighting(settings, list(tasks))
    if settings.method == "uncertainty":
        return dict.fromkeys(tasks, 1.0)
    if settings.file is not None:
        return read_weights(settings.file, list(tasks))
    return {name: settings.weights.get(name, task.loss_weight) for name, task in tasks.items()}


def check_training(settings: TrainingSettings) -> None:
    """Raises InputError for settings that no training can follow; to be asked before a run's folder is made."""
    for name in ("iterations", "batch_size", "log_every", "checkpoint_every"):
        if getattr(settings, name) < 1:
            raise InputError(f"training.{name} is {getattr(settings, name)}: expected at least 1")
    for name in ("momentum", "weight_decay", "poly_power", "auxiliary_weight", "validate_every"):
        if not getattr(settings, name) >= 0:
            raise InputError(f"training.{name} is {getattr(settings, name)}: expected at least 0")
    if settings.clip_norm is not None and not settings.clip_norm > 0:
        raise InputError(f"training.clip_norm is {settings.clip_norm}: expected a positive number or null")
    if settings.batch_size < 2:
        # statistics of batch normalisation over one image's regions are not defined
        raise InputError("training.batch_size is 1: expected at least 2")
    if settings.optimizer not in OPTIMIZERS:
        raise unknown("training.optimizer", settings.optimizer, OPTIMIZERS)
    if not settings.learning_rate > 0:
        raise InputError(f"training.learning_rate is {settings.learning_rate}: expected a positive number")


class Trainer:
    """Trains a network on a source, or on some of its tasks, resumably.

    Everything random draws from generators seeded by `seed` that the checkpoint saves; the order of the data follows
    from the seed and the step. On a CPU, resuming therefore equals never having stopped; on a GPU it does so as far as
    its kernels are deterministic.

    learn_weights: the losses of two and more tasks, multiplied by `weights`, are weighed by learned uncertainties.
    quiet: no log lines, only a bar on a terminal.
    """

    def __init__(
        self,
        network: nn.Module,
        source: DatasetSplits,
        data: DataSettings,
        settings: TrainingSettings,
        weights: Mapping[str, float],
        run: Run,
        fabric: Fabric,
        seed: int,
        callback: Callback | None = None,
        clip_norm: float | None = None,
        label: str = "",
        tasks: Mapping[str, Task] | None = None,
        learn_weights: bool = False,
        quiet: bool = False,
    ):
        self.source, self.data, self.settings, self.run, self.fabric = source, data, settings, run, fabric
        self.tasks, self.weights = dict(tasks or source.tasks), dict(weights)
        self.seed, self.label, self.quiet = seed, label, quiet
        self.clip_norm = clip_norm
        self.callback = callback or Callback()
        self.network = network
        own = {id(parameter) for parameter in self.callback.parameters()}
        self.parameters = [p for p in network.parameters() if id(p) not in own]
        self.uncertainty = UncertaintyWeighting(list(self.tasks)) if learn_weights and len(self.tasks) > 1 else None
        self.optimizer = self._optimizer()
        self.model, self._fabric_optimizer = fabric.setup(network, self.optimizer)
        self.device = fabric.device
        self.generator = torch.Generator().manual_seed(seed)
        # with all of the source's tasks, so that a network of one task sees the same crops as one of all
        self.augment = Augmentation(source.tasks, self.generator, data.scale_range, data.photometric)
        self.step = 0
        self.seconds = 0.0
        self.best: tuple[float, int] | None = None  # (score, step)

    def _optimizer(self) -> torch.optim.Optimizer:
        s = self.settings
        groups: list[dict[str, Any]] = [{"params": self.parameters}]
        if self.uncertainty is not None:
            self.uncertainty.to(self.fabric.device)
            groups.append({"params": list(self.uncertainty.parameters()), "weight_decay": 0.0})
        if s.optimizer == "sgd":
            return torch.optim.SGD(groups, s.learning_rate, s.momentum, weight_decay=s.weight_decay)
        return torch.optim.AdamW(groups, s.learning_rate, weight_decay=s.weight_decay)

    def task_weights(self) -> dict[str, float]:
        """What each task's loss is multiplied by at present."""
        learned = {} if self.uncertainty is None else self.uncertainty.weights()
        return {name: self.weights[name] * learned.get(name, 1.0) for name in self.tasks}

    def fit(self, score: Callable[[Values], float] | None = None) -> None:
        """Runs to the last step, from the run's checkpoint if it has one.

        With a score, validates as the settings say and keeps the weights that score highest as checkpoints/best.pt.
        Raises Interrupted, after a checkpoint, when stopped.
        """
        self._resume()
        s = self.settings
        self.callback.begin(self.run, self.step)
        writer = SummaryWriter(str(self.run.folder), purge_step=self.step if self.step else None)
        progress = Progress(s.iterations, self.step, self.label, self.quiet)
        loader = training_loader(
            self.source.splits["train"],
            s.batch_size,
            self.seed,
            self.step,
            s.iterations,
            self.data.workers,
            self.device.type == "cuda",
        )
        began, since = time.monotonic(), (time.monotonic(), self.step)
        former_seconds = self.seconds
        sums: dict[str, Tensor] = {}
        self.model.train()
        try:
            with Interruption() as interruption:
                for sample in loader:
                    losses = self._train_step(self.augment(sample, self.device))
                    sums = {name: sums.get(name, 0) + loss.detach() for name, loss in losses.items()}
                    self.step += 1
                    self.seconds = former_seconds + time.monotonic() - began
                    self.callback.after_step(self.step)
                    progress.advance()
                    last = self.step == s.iterations
                    if self.step % s.log_every == 0 or last:
                        now, steps = time.monotonic(), self.step - since[1]
                        pace = steps * s.batch_size / (now - since[0])
                        figures = {name: float(total) / steps for name, total in sums.items()}
                        self._log(writer, progress, figures, pace)
                        sums, since = {}, (now, self.step)
                    if score is not None and (last or (s.validate_every and self.step % s.validate_every == 0)):
                        before = time.monotonic()
                        self._keep_best(score, writer)
                        began += time.monotonic() - before  # not training
                    if self.step % s.checkpoint_every == 0 or last or interruption.requested:
                        self.run.save_checkpoint(self.state_dict())
                    if interruption.requested:
                        raise Interrupted(f"stopped at step {self.step}; the same command with --resume goes on")
        finally:
            self.callback.end()
            progress.close()
            writer.close()

    def _keep_best(self, score: Callable[[Values], float], writer: SummaryWriter) -> None:
        values = self.validate("val")
        for name, task in self.tasks.items():
            writer.add_scalar(f"validation/{name}_{task.primary}", values[name][task.primary], self.step)
        found = score(values)
        if self.best is None or found > self.best[0]:
            self.best = (found, self.step)
            self.run.save_checkpoint({"step": self.step, "network": self.network.state_dict()}, "best")

    def _train_step(self, batch: Batch) -> dict[str, Tensor]:
        s = self.settings
        rate = s.learning_rate * (1 - self.step / s.iterations) ** s.poly_power
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.callback.before_step(self.step)
        losses = self.losses(self.model(batch.image, batch.valid), batch)
        total = sum(losses.values(), torch.zeros((), device=self.device)) + self.callback.loss()
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(total)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_([*self.parameters, *self.callback.parameters()], self.clip_norm)
        self._fabric_optimizer.step()
        return {"loss": total, **losses}

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss of each task, its auxiliary prediction's included."""
        losses = {}
        for name, task in self.tasks.items():
            label, mask = batch.labels[name], batch.masks[name]
            loss = task.loss(outputs.predictions[name], label, mask)
            if name in outputs.auxiliary:
                loss = loss + self.settings.auxiliary_weight * task.region_loss(outputs.auxiliary[name], label, mask)
            losses[name] = self.weights[name] * loss
            if self.uncertainty is not None:
                losses[name] = self.uncertainty(name, losses[name])
        return losses

    def _log(self, writer: SummaryWriter, progress: Progress, losses: Mapping[str, float], pace: float) -> None:
        if not math.isfinite(losses["loss"]):
            found = f"the loss is {losses['loss']} at step {self.step}"
            raise Diverged(f"{found}: expected a finite one; try a lower training.learning_rate")
        figures = {"loss": losses["loss"], **self.callback.figures()}
        if self.uncertainty is not None:
            figures |= {f"weight_{name}": weight for name, weight in self.task_weights().items()}
        resources = {"images/s": pace, "GB": peak_memory(self.device) / 1e9}
        for name, value in {**losses, **figures, **resources}.items():
            writer.add_scalar(f"loss/{name}" if name in losses else f"training/{name}", value, self.step)
        progress.log(self.step, {**figures, **resources})

    def validate(self, split: str) -> Values:
        batch_size, workers = self.settings.batch_size, self.data.workers
        return evaluate(self.model, self.source.splits[split], self.tasks, batch_size, workers, self.device)

    def recalibrate(self, batches: int) -> None:
        """Replaces the running statistics of every batch norm by their mean over this many training batches.

        Needed where a network is evaluated in another state than it was trained in (as a supernet's choice is).
        """
        norms: list[Any] = [module for module in self.network.modules() if hasattr(module, "running_mean")]
        former = [norm.momentum for norm in norms]
        start = self.settings.iterations
        s = self.settings
        loader = training_loader(
            self.source.splits["train"], s.batch_size, self.seed, start, start + batches, self.data.workers, False
        )
        self.network.train()
        with torch.no_grad():
            for i, sample in enumerate(loader):
                for norm in norms:
                    norm.momentum = 1 / (i + 1)  # the running mean becomes the plain mean
                batch = self.augment(sample, self.device)
                self.model(batch.image, batch.valid)
        for norm, momentum in zip(norms, former, strict=True):
            norm.momentum = momentum

    def state_dict(self) -> dict[str, Any]:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "callback": self.callback.state_dict(),
            "weights": self.weights,
            "uncertainty": None if self.uncertainty is None else self.uncertainty.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def _resume(self) -> None:
        state = self.run.load_checkpoint()
        if state is None:
            return
        if state.get("weights", self.weights) != self.weights:
            found = f"the loss weights were {state['weights']} and are now {self.weights}"
            raise InputError(f"--resume in '{self.run.folder}': {found}; expected those it began with")
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.callback.load_state_dict(state["callback"])
        if self.uncertainty is not None:
            self.uncertainty.load_state_dict(state["uncertainty"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        if "random_cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
