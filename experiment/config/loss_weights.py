"""loss_weights: the weights of the tasks' losses, and the search for them."""

import math
from dataclasses import dataclass, field

from experiment.config.checks import at_least, one_of, plain_values
from experiment.errors import InputError

BALANCING = ("upgrad", "dualproj", "aligned_mtl", "mgda", "pcgrad", "imtl_g", "graddrop")
METHODS = ("fixed", "uncertainty", *BALANCING)
SAMPLERS = ("tpe", "random", "grid")


@dataclass(frozen=True)
class LossWeightSettings:
    """Weights of the tasks' losses.

    Args:
        weights: weight per task, such as {depth - 1, normals - 10}; a task left out keeps its published weight.
        file: loss_weights.yaml of a run that tuned the weights, read instead of loss_weights.weights.
        method: fixed; uncertainty, which learns the weights with the network (Kendall et al., CVPR 2018); or how the
            gradients of the weighted losses are combined where tasks share weights - upgrad, dualproj, aligned_mtl,
            mgda, pcgrad, imtl_g or graddrop (they need torchjd).
        trials: number of trainings of the multi-task baseline in which a search tunes the weights before it begins
            the architecture; 0 tunes none. A shared study ends at this many in all.
        only: a search stops once the weights are tuned.
        sampler: tpe, random or grid.
        low: smallest weight that is tried. The first task's weight is 1, because only ratios matter.
        high: largest weight that is tried; weights are drawn log-uniformly between low and high.
        grid: weights that the sampler grid combines, such as {depth - [0.02, 0.1, 1]}; a task left out takes 0.01,
            0.02, 0.1 and 1.
        iterations: training steps of a trial and of a single-task reference; by default training.iterations.
        validations: evenly spaced validations in a trial, after which Hyperband may prune it; 1 prunes none.
        storage: where the trials are kept, a journal file (.log or .journal) or a database URL, shared by all processes
            that name it; $NAMES are replaced from the environment; by default loss_weights.db in the run.
        study: name of the study in the storage.
    """

    weights: dict[str, float] = field(default_factory=dict)
    file: str | None = None
    method: str = "fixed"
    trials: int = 0
    only: bool = False
    sampler: str = "tpe"
    low: float = 0.01
    high: float = 100.0
    grid: dict[str, list[float]] = field(default_factory=dict)
    iterations: int | None = None
    validations: int = 9
    storage: str | None = None
    study: str = "loss_weights"

    def __post_init__(self) -> None:
        plain_values("loss_weights", self)
        one_of("loss_weights.method", self.method, METHODS)
        one_of("loss_weights.sampler", self.sampler, SAMPLERS)
        for name, weight in self.weights.items():
            if not usable(weight):
                raise InputError(f"loss_weights.weights.{name} is {weight}: expected a positive number")
        for name, values in self.grid.items():
            if not values or not all(map(usable, values)):
                raise InputError(f"loss_weights.grid.{name} is {values}: expected positive numbers")
        at_least("loss_weights.trials", self.trials, 0)
        at_least("loss_weights.iterations", self.iterations, 1)
        at_least("loss_weights.validations", self.validations, 1)
        if self.method == "uncertainty" and (self.trials or self.file is not None):
            given = "trials" if self.trials else "file"
            raise InputError(f"loss_weights.method uncertainty learns the weights: expected no loss_weights.{given}")
        if not (usable(self.low) and usable(self.high) and self.low < self.high):
            raise InputError(f"loss_weights.low and high are {self.low} and {self.high}: expected 0 < low < high")
        if not self.study:
            raise InputError("loss_weights.study is empty: expected a name")
        if self.only and not self.trials:
            raise InputError("loss_weights.only is true, but loss_weights.trials is 0: expected trials")


def usable(weight: object) -> bool:
    """Whether this is a positive finite number."""
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < math.inf
