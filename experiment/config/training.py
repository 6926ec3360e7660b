"""training: optimisation."""

from dataclasses import dataclass, field
from itertools import pairwise

from experiment.config.checks import at_least, fraction, one_of, plain_values, positive, within
from experiment.errors import InputError

OPTIMIZERS = ("adamw", "adam", "sgd")
LOGGERS = ("tensorboard", "csv", "wandb")
SCHEDULES = ("poly", "step")
LARGEST_BATCH = 2**16


@dataclass(frozen=True)
class TrainingSettings:
    """Optimisation, the same in search and in retraining. Raises InputError for values that cannot be used.

    Args:
        iterations: training steps.
        batch_size: images a step.
        optimizer: adamw, adam or sgd.
        learning_rate: initial learning rate.
        momentum: of sgd.
        beta_2: decay of the second moment, of adamw and adam.
        weight_decay: of all weights; adam adds it to the gradients.
        schedule: how the learning rate falls - poly, from step to step, or step, at the milestones.
        poly_power: of poly, the learning rate falls with (1 - step / iterations) to this power.
        final_rate: of poly, where the learning rate ends.
        milestones: of step, after how many steps the learning rate is multiplied by step_factor; none, and it stays.
        step_factor: of step.
        clip_norm: largest joint norm of the gradients, a search's logits included; null for no clipping (ATRC's
            retraining).
        auxiliary_weight: weight of the auxiliary predictions' losses, relative to their tasks'.
        prior_start: whether output heads start at the training prior (class frequencies, mean depth, mean normal, log
            odds of an edge), estimated from at most 256 training images; otherwise their biases start at 0.
        loggers: what a run writes beside its own files - tensorboard (events), csv (tables of what is logged), wandb
            (Weights & Biases, which needs the package).
        log_every: steps between log lines.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations of a retraining, the best of which is reported; 0 validates only at
            the end. A search validates at its end.
        compile: whether a retraining's steps run through torch.compile, which takes minutes at the start, each time it
            is resumed too, and needs a C++ compiler; a search never does.
    """

    iterations: int = 40000
    batch_size: int = 8
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    beta_2: float = 0.999
    weight_decay: float = 5e-4
    schedule: str = "poly"
    poly_power: float = 0.9
    final_rate: float = 0.0
    milestones: list[int] = field(default_factory=list)
    step_factor: float = 0.1
    clip_norm: float | None = 10.0
    auxiliary_weight: float = 1.0
    prior_start: bool = True
    loggers: list[str] = field(default_factory=lambda: ["tensorboard"])
    log_every: int = 20
    checkpoint_every: int = 200
    validate_every: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        plain_values("training", self)
        for key in ("iterations", "log_every", "checkpoint_every"):
            at_least(f"training.{key}", getattr(self, key), 1)
        # one image's regions have no variance to normalise by
        within("training.batch_size", self.batch_size, 2, LARGEST_BATCH)
        one_of("training.optimizer", self.optimizer, OPTIMIZERS)
        for name in self.loggers:
            one_of("training.loggers", name, LOGGERS)
        if len(set(self.loggers)) < len(self.loggers):
            raise InputError(f"training.loggers is {self.loggers}: expected each once")
        one_of("training.schedule", self.schedule, SCHEDULES)
        fraction("training.beta_2", self.beta_2)
        positive("training.step_factor", self.step_factor)
        if any(later <= earlier for earlier, later in pairwise([0, *self.milestones])):
            raise InputError(f"training.milestones is {self.milestones}: expected numbers of steps that rise from 1")
        positive("training.learning_rate", self.learning_rate)
        within("training.final_rate", self.final_rate, 0, self.learning_rate)
        positive("training.clip_norm", self.clip_norm)
        for key in ("momentum", "weight_decay", "poly_power", "auxiliary_weight", "validate_every"):
            at_least(f"training.{key}", getattr(self, key), 0)
