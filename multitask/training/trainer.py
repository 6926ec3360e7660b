"""The one training loop, for the search and for retraining."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from experiment.errors import InputError
from experiment.interruption import Interrupted, Interruption
from experiment.processes import leads
from experiment.progress import Progress, track
from experiment.run import Run, read_json
from multitask import processes
from multitask.cost import peak_memory
from multitask.data import Batch, Dataset, Sample
from multitask.data.augmentation import Augmentation
from multitask.data.loader import training_loader
from multitask.network import MultiTaskNetwork, Outputs
from multitask.sending import read
from multitask.tasks import Task
from multitask.training.balancing import Balancing
from multitask.training.callback import Callback
from multitask.training.checkpoints import find_checkpoint, load_checkpoint, save_checkpoint
from multitask.training.common_random import CommonRandomNumbers
from multitask.training.compiling import compile_forward
from multitask.training.evaluation import Values, evaluate, mean_losses, primary_values
from multitask.training.examples import examples
from multitask.training.finite import Diverged, FirstFaults, first_not_finite, trace
from multitask.training.loggers import Loggers
from multitask.training.loss_weighting import UncertaintyWeighting
from multitask.training.recipe import Recipe
from multitask.training.schedule import learning_rate

PRIOR = "prior.json"


class Trainer:
    """Trains a network by a recipe, on all of the dataset's tasks or on some of them, resumably.

    Batches, augmentation and dropout masks follow from `seed` and the step, so that all networks of one seed see the
    same ones; what a callback draws, its checkpoint restores. On a CPU, resuming therefore equals never having stopped;
    on a GPU it does so as far as its kernels are deterministic.

    Several processes (multitask/processes.py) train one network: each computes its share of every batch.

    label: begins the log lines.
    quiet: no log lines, only a bar on a terminal.
    compiled: steps run the network's forward pass compiled (multitask/training/compiling.py).
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        run: Run,
        seed: int,
        *,
        callback: Callback | None = None,
        tasks: Mapping[str, Task] | None = None,
        label: str = "",
        quiet: bool = False,
        compiled: bool = False,
    ):
        self.network, self.recipe, self.run, self.seed = network, recipe, run, seed
        self.settings, self.label, self.quiet = recipe.training, label, quiet
        self.tasks = dict(tasks or recipe.dataset.tasks)
        self.weights = {name: recipe.weights[name] for name in self.tasks}
        self.callback = callback or Callback()
        own = {id(parameter) for parameter in self.callback.parameters()}
        self.parameters = [p for p in network.parameters() if id(p) not in own and p.requires_grad]
        learn_weights = recipe.learn_weights and len(self.tasks) > 1
        self.uncertainty = UncertaintyWeighting(list(self.tasks)) if learn_weights else None
        balancing = recipe.balancing if len(self.tasks) > 1 else None
        self.balancing = (
            None if balancing is None else Balancing(balancing, len(self.tasks), seed, recipe.fabric.device)
        )
        self.optimizer = self._optimizer()
        self.model, self._fabric_optimizer = recipe.fabric.setup(network, self.optimizer)
        self.compiled = compiled
        self.forward = compile_forward(self.model, self.balancing is not None) if compiled else self.model
        self.device = recipe.fabric.device
        self.generator = torch.Generator()
        self.share = processes.share(self.settings.batch_size)
        self.random = CommonRandomNumbers(seed, self.generator, self.share)
        # with all of the dataset's tasks, so that a network of one task sees the same crops as one of all
        data = recipe.data
        dataset = recipe.dataset
        self.augment = Augmentation(dataset.tasks, self.generator, data.recipe, dataset.images, self.share)
        self.step = 0
        self.seconds = 0.0
        self.best: tuple[float, int] | None = None  # (score, step)
        self.faults = FirstFaults()
        # a block may keep infinities on purpose, as the mask of an attention does
        self._infinite: set[str] = set()
        if first_not_finite(dict(network.named_buffers())) is not None:
            self._infinite = {name for name, b in network.named_buffers() if first_not_finite(b) is not None}

    def _optimizer(self) -> torch.optim.Optimizer:
        s = self.settings
        factors = self._rate_factors()
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters if factors.get(id(p), 1.0) == factor], "rate_factor": factor}
            for factor in sorted({factors.get(id(p), 1.0) for p in self.parameters}, reverse=True)
        ]
        if self.uncertainty is not None:
            self.uncertainty.to(self.recipe.fabric.device)
            groups.append({"params": list(self.uncertainty.parameters()), "weight_decay": 0.0, "rate_factor": 1.0})
        if s.optimizer == "sgd":
            return torch.optim.SGD(groups, s.learning_rate, s.momentum, weight_decay=s.weight_decay)
        kind = torch.optim.AdamW if s.optimizer == "adamw" else torch.optim.Adam
        return kind(groups, s.learning_rate, (0.9, s.beta_2), weight_decay=s.weight_decay)

    def _rate_factors(self) -> dict[int, float]:
        """{id of a parameter: factor on its learning rate}, of those whose factor is not 1."""
        if not isinstance(self.network, MultiTaskNetwork):
            return {}
        factor = self.network.settings.backbone_rate
        return {id(parameter): factor for parameter in self.network.encoder_parameters()}

    def task_weights(self) -> dict[str, float]:
        """The present factor on each task's loss."""
        learned = {} if self.uncertainty is None else self.uncertainty.weights()
        return {name: self.weights[name] * learned.get(name, 1.0) for name in self.tasks}

    def fit(self, score: Callable[[Values], float] | None = None) -> None:
        """Trains to the last step, from the run's checkpoint if it has one.

        With a score, validates as configured and keeps the weights that score highest as checkpoints/best.pt.
        Raises Interrupted, after a checkpoint, when stopped, and Diverged once a number is not finite.
        """
        self._resume()
        if self.step == 0:
            with processes.sharing():
                self.start()
        s = self.settings
        self.callback.begin(self.run, self.step)
        loggers = Loggers(s.loggers, self.run, self.step)
        progress = Progress(s.iterations, self.step, self.label, self.quiet)
        loader = self.loader(self.recipe.dataset.splits["train"], self.step, s.iterations)
        began, since = time.monotonic(), (time.monotonic(), self.step)
        former_seconds = self.seconds
        sums: dict[str, Tensor] = {}
        self.model.train()
        try:
            with Interruption() as interruption, self.random.dropout_of(self.network, self.compiled):
                for sample in loader:
                    self.random.begin_step(self.step)
                    with processes.sharing():
                        losses = self.train_step(self.augment(sample, self.device))
                        sums = {name: sums.get(name, 0) + loss.detach() for name, loss in losses.items()}
                        self.step += 1
                        self.seconds = former_seconds + time.monotonic() - began
                        self.callback.after_step(self.step)
                    progress.advance()
                    stop = processes.any_of(interruption.requested)
                    last = self.step == s.iterations
                    log = last or self.step % s.log_every == 0
                    validate = score is not None and (
                        last or bool(s.validate_every and self.step % s.validate_every == 0)
                    )
                    save = last or self.step % s.checkpoint_every == 0 or stop
                    if log or validate or save:
                        self._check_state()
                    if log:
                        now, steps = time.monotonic(), self.step - since[1]
                        pace = steps * s.batch_size / (now - since[0])
                        self._log(loggers, progress, {name: total / steps for name, total in sums.items()}, pace)
                        sums, since = {}, (now, self.step)
                    if validate and score is not None:
                        before = time.monotonic()
                        # best.pt and last.pt go together, so that what last.pt names as best is always there
                        save = self._keep_best(score, loggers, progress) or save
                        began += time.monotonic() - before  # not training
                    if save:
                        save_checkpoint(self.run, self.state_dict())
                    if stop:
                        raise Interrupted(f"stopped at step {self.step}; the same command with --resume goes on")
        finally:
            self.callback.end()
            progress.close()
            loggers.close()

    def _keep_best(self, score: Callable[[Values], float], loggers: Loggers, progress: Progress) -> bool:
        """Validates; whether this step is the best so far, and checkpoints/best.pt its weights."""
        values = self.validate("val")
        found, constant = (primary_values(given, self.tasks) for given in (values, self.prior("val")))
        figures = []
        for name, task in self.tasks.items():
            metric = task.primary
            values_of_task = {
                f"validation/{name}_{metric}": found[name],
                f"validation_prior/{name}_{metric}": constant[name],
            }
            loggers.scalars(values_of_task, self.step)
            figures.append(f"{name} {metric} {found[name]:.4g} (constant {constant[name]:.4g})")
        progress.note(f"validation, step {self.step}: {', '.join(figures)}")
        self.show_examples(loggers)
        value = score(values)
        if self.best is not None and not value > self.best[0]:
            return False
        self.best = (value, self.step)
        save_checkpoint(self.run, {"step": self.step, "network": self.network.state_dict()}, "best")
        return True

    def show_examples(self, loggers: Loggers) -> None:
        """Predictions on a few validation images, beside their labels; none of a quiet training, one of many."""
        if loggers.show_images and not self.quiet:
            shown = examples(self.model, self.recipe.dataset.splits["val"], self.tasks, self.device)
            for name, pixels in shown.items():
                loggers.image(f"validation/{name}", pixels, self.step)

    def loader(self, dataset: Dataset, start: int, stop: int) -> DataLoader[Sample]:
        """The samples of the steps from `start` to before `stop`, in an order that follows from seed and step; of
        several processes, this one's share.
        """
        s, pin = self.settings, self.device.type == "cuda"
        return training_loader(dataset, s.batch_size, self.seed, start, stop, self.recipe.data.workers, pin, self.share)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Updates the weights once; returns the loss and each task's part of it."""
        s = self.settings
        rate = learning_rate(s, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        self.callback.before_step(self.step)
        losses = self.losses(self.forward(batch.image, batch.valid), batch)
        total = sum(losses.values(), torch.zeros((), device=self.device)) + self.callback.loss()
        named = {f"loss of {name}": loss for name, loss in losses.items()}
        self.watch(self.step + 1, {**named, "total loss": total}, batch)
        self.optimizer.zero_grad(set_to_none=True)
        parameters = [*self.parameters, *self.callback.parameters()]
        if self.balancing is None:
            self.backward(total, parameters)
        else:
            self.balancing.backward(losses, parameters, self.step)
        norm = self.clip(parameters)
        if norm is not None:
            self.watch(self.step + 1, {"norm of the gradients": norm}, batch)
        self._fabric_optimizer.step()
        return {"loss": total, **losses}

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        """The gradients of the whole batch's loss."""
        self.recipe.fabric.backward(loss)
        learned = [] if self.uncertainty is None else list(self.uncertainty.parameters())
        processes.average_gradients([*parameters, *learned])

    def clip(self, parameters: Sequence[nn.Parameter]) -> Tensor | None:
        """Clips the joint norm of the parameters' gradients to `training.clip_norm`; the norm before."""
        if self.settings.clip_norm is None:
            return None
        return nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)

    def watch(self, step: int, values: Mapping[str, Tensor], batch: Batch) -> None:
        """Ends the training once one of these scalars of a step is not finite: on a CPU at once, elsewhere where the
        training waits for the device anyway.
        """
        self.faults.note(step, values)
        if self.device.type == "cpu":
            self._check_faults(batch)

    def _check_faults(self, batch: Batch | None = None) -> None:
        first = self.faults.first()
        if first is None:
            return
        step, names = first
        forward = (lambda: None) if batch is None else (lambda: self.model(batch.image, batch.valid))
        tensor = trace(self.network, forward)
        raise Diverged(f"step {step}: {', '.join(names)} not finite, first tensor: {tensor}")

    def _check_state(self) -> None:
        """Raises Diverged, before they are kept, if the losses so far or what a checkpoint holds are not finite."""
        self._check_faults()
        state = self.state_dict()
        state["network"] = {name: t for name, t in state["network"].items() if name not in self._infinite}
        tensor = first_not_finite(state)
        if tensor is not None:
            raise Diverged(f"step {self.step}: {tensor} is not finite after the update of the weights")
        processes.check_alike([*self.parameters, *self.callback.parameters()], f"step {self.step}")

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The weighted loss of each task, those of its auxiliary and early predictions included."""
        losses = {}
        for name, task in self.tasks.items():
            label, mask = batch.labels[name], batch.masks[name]
            loss = task.loss(outputs.predictions[name], label, mask)
            if name in outputs.auxiliary:
                loss = loss + self.settings.auxiliary_weight * task.region_loss(outputs.auxiliary[name], label, mask)
            for early in outputs.early:
                if name in early.predictions:
                    loss = loss + early.weight * task.loss(early.predictions[name], label, mask)
            losses[name] = self.weights[name] * loss
            if self.uncertainty is not None:
                losses[name] = self.uncertainty(name, losses[name])
        return losses

    def _log(self, loggers: Loggers, progress: Progress, losses: Mapping[str, Tensor], pace: float) -> None:
        figures: dict[str, Tensor | float] = {"loss": losses["loss"], **self.callback.figures()}
        if self.uncertainty is not None:
            factors = self.uncertainty.factors()
            figures |= {f"weight_{name}": self.weights[name] * factors[name] for name in self.tasks}
        resources = {"images/s": pace, "GB": peak_memory(self.device) / 1e9}
        values = read({**losses, **figures, **resources})
        logged = {f"loss/{name}" if name in losses else f"training/{name}": value for name, value in values.items()}
        logged["training/learning_rate"] = learning_rate(self.settings, self.step - 1)
        loggers.scalars({**logged, **self.callback.details()}, self.step)
        progress.log(self.step, {name: values[name] for name in {**figures, **resources}})

    def prior(self, split: str) -> Values:
        """Metrics of the constant prediction from the training images, kept in the run's prior.json."""

        def metrics() -> Values:
            kept = self._kept_prior()
            if split not in kept["metrics"]:
                values = self.recipe.dataset.prior.metrics(split)
                kept["metrics"][split] = {name: values[name] for name in self.tasks}
                self.run.write_json(PRIOR, kept)
            return kept["metrics"][split]

        return processes.from_first(metrics)

    def start(self) -> None:
        """What precedes the first step: with `training.prior_start`, the output heads' biases become the prior."""
        if not self.settings.prior_start:
            return

        def biases() -> dict[str, list[float]]:
            kept = self._kept_prior()
            if not kept["head_biases"]:
                found = self.recipe.dataset.prior.head_biases()
                kept["head_biases"] = {name: found[name].tolist() for name in self.tasks}
                self.run.write_json(PRIOR, kept)
            return kept["head_biases"]

        network: Any = self.network
        network.initialize_heads({name: torch.tensor(b) for name, b in processes.from_first(biases).items()})

    def _kept_prior(self) -> dict[str, Any]:
        """What prior.json holds, so that resuming estimates nothing again."""
        path = self.run.path(PRIOR)
        if path.is_file():
            kept = read_json(path)
            if kept.keys() >= {"images", "head_biases", "metrics"}:
                return kept
            raise InputError(f"'{path}' is damaged: expected images, head_biases and metrics")
        return {"version": 1, "images": self.recipe.dataset.prior.images, "head_biases": {}, "metrics": {}}

    def validate(self, split: str) -> Values:
        """The metrics of every task on a split."""
        batch_size, workers = self.settings.batch_size, self.recipe.data.workers
        images = self.recipe.dataset.splits[split]
        label = self.phase("testing" if split == "test" else "validating")
        try:
            return evaluate(self.model, images, self.tasks, batch_size, workers, self.device, label)
        except Diverged as error:
            raise Diverged(f"step {self.step}, split {split}: {error.problem}") from error

    def mean_losses(self, split: str) -> dict[str, float | None]:
        """The unweighted loss of every task on a split; see `evaluation.mean_losses`."""
        images, workers = self.recipe.dataset.splits[split], self.recipe.data.workers
        label = self.phase("losses")
        return mean_losses(self.model, images, self.tasks, self.settings.batch_size, workers, self.device, label)

    def phase(self, name: str) -> str:
        """The label of a phase beside the training."""
        return f"{self.label}, {name}" if self.label else name

    def recalibrate(self, batches: int) -> None:
        """Replaces the running statistics of every batch norm by their mean over this many training batches.

        Needed where a network is evaluated in another state than it was trained in, as a supernet's choice is.
        """
        norms: list[Any] = [module for module in self.network.modules() if hasattr(module, "running_mean")]
        former = [norm.momentum for norm in norms]
        start = self.settings.iterations
        loader = self.loader(self.recipe.dataset.splits["train"], start, start + batches)
        self.network.train()
        with torch.no_grad(), self.random.dropout_of(self.network):
            for i, sample in enumerate(track(loader, self.phase("batch statistics"), unit="batch")):
                self.random.begin_step(start + i)
                for norm in norms:
                    norm.momentum = 1 / (i + 1)  # the running mean becomes the plain mean
                batch = self.augment(sample, self.device)
                with processes.sharing():
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
            "random": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def _resume(self) -> None:
        state = load_checkpoint(self.run)
        if state is None:
            return
        if state.get("weights", self.weights) != self.weights:
            change = f"the loss weights were {state['weights']} and are now {self.weights}"
            raise InputError(f"--resume in '{self.run.folder}': {change}; expected those it began with")
        best = state["best"]
        if best is not None and leads():
            find_checkpoint(self.run, "best", best[1])  # a lost one is noticed now, not at the end
        try:
            self._load(state)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            name = f"the checkpoint in '{self.run.folder}'"
            raise InputError(f"{name} fits another network: expected one of the same code and blocks") from error

    def _load(self, state: Mapping[str, Any]) -> None:
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.callback.load_state_dict(state["callback"])
        if self.uncertainty is not None:
            self.uncertainty.load_state_dict(state["uncertainty"])
        torch.set_rng_state(state["random"])
        if "random_cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
