"""training: optimisation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """How weights are learned, in search and in retraining alike.

    Args:
        iterations: training steps.
        batch_size: images a step.
        optimizer: adamw or sgd.
        learning_rate: initial learning rate; falls to 0 by the poly rule.
        momentum: of sgd.
        weight_decay: of all weights.
        poly_power: the learning rate is multiplied by (1 - step / iterations) to this power.
        clip_norm: largest norm of the gradient in retraining (ATRC - none); a search has its own, search.clip_norm.
        auxiliary_weight: weight of the auxiliary predictions' losses, relative to their tasks'.
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
    clip_norm: float | None = None
    auxiliary_weight: float = 1.0
    log_every: int = 20
    checkpoint_every: int = 200
    validate_every: int = 0
