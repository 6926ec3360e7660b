"""loss_weights: how the tasks' losses are weighted."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LossWeightSettings:
    """How the tasks' losses are weighed.

    Args:
        weights: weight per task, such as {depth - 1, normals - 10}; a task left out keeps its published weight.
        file: loss_weights.yaml of a run that searched weights, taken in place of `weights`.
        method: fixed, or uncertainty (Kendall et al., 2018 - learned along with the network from 1 on; no weights are
            given then).
        trials: trainings of the multi-task baseline in which search.py looks for weights before it searches the
            architecture; 0 looks for none. A shared study ends at this many, whoever trained them.
        only: search.py ends once the weights are found.
        sampler: tpe, random or grid.
        low: smallest weight that is tried; the first task's weight is 1, because only ratios matter.
        high: largest weight that is tried; between low and high, weights are log-uniform.
        grid: weights that sampler grid combines, such as {depth - [0.02, 0.1, 1]}; a task left out takes 0.01, 0.02,
            0.1 and 1, that is 100/1, 50/1, 10/1 and 1/1 (DenseMTL - 50/1 and 100/1 for segmentation/depth).
        iterations: training steps of a trial and of a single-task reference; by default those of the training.
        validations: evenly spaced validations in a trial, after which Hyperband may end it; 1 lets every trial end.
        storage: where the trials are kept - a journal file (.log or .journal) or a database URL, shared by all
            processes that name it; $NAMES are replaced from the environment; by default loss_weights.db in the run.
        study: the name of the study in the storage.
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
