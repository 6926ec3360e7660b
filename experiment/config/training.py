"""training: optimisation."""

from dataclasses import dataclass

from experiment.errors import InputError, unknown

OPTIMIZERS = ("adamw", "sgd")


@dataclass(frozen=True)
class TrainingSettings:
    """Optimisation, the same in search and in retraining. Raises InputError for values that cannot be used.

    Args:
        iterations: training steps.
        batch_size: images a step.
        optimizer: adamw or sgd.
        learning_rate: initial learning rate; falls to 0 by the poly rule.
        momentum: of sgd.
        weight_decay: of all weights.
        poly_power: the learning rate is multiplied by (1 - step / iterations) to this power.
        clip_norm: largest joint norm of the gradients, a search's logits included; null for no clipping (ATRC's
            retraining).
        auxiliary_weight: weight of the auxiliary predictions' losses, relative to their tasks'.
        prior_start: whether output heads start at the training prior (class frequencies, mean depth, mean normal, log
            odds of an edge), estimated from at most 256 training images; otherwise their biases start at 0.
        log_every: steps between log lines.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations of a retraining, the best of which is reported; 0 validates only at
            the end. A search validates at its end.
    """

    iterations: int = 40000
    batch_size: int = 8
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    poly_power: float = 0.9
    clip_norm: float | None = 10.0
    auxiliary_weight: float = 1.0
    prior_start: bool = True
    log_every: int = 20
    checkpoint_every: int = 200
    validate_every: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}: expected at least 1")
        if self.batch_size < 2:
            # batch normalisation over one image's regions has no variance
            raise InputError("training.batch_size is 1: expected at least 2")
        for name in ("momentum", "weight_decay", "poly_power", "auxiliary_weight", "validate_every"):
            if not getattr(self, name) >= 0:
                raise InputError(f"training.{name} is {getattr(self, name)}: expected at least 0")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"training.clip_norm is {self.clip_norm}: expected a positive number or null")
        if self.optimizer not in OPTIMIZERS:
            raise unknown("training.optimizer", self.optimizer, OPTIMIZERS)
        if not self.learning_rate > 0:
            raise InputError(f"training.learning_rate is {self.learning_rate}: expected a positive number")
