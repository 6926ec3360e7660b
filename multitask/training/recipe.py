"""What all networks that are to be compared have in common: data, optimisation, loss weights, hardware."""

from collections.abc import Mapping
from dataclasses import dataclass

from lightning_fabric import Fabric

from experiment.config import Config, DataSettings, TrainingSettings
from multitask.data import DatasetSplits
from multitask.training.balancing import AGGREGATORS, check_balancing
from multitask.training.loggers import check_loggers
from multitask.training.loss_weighting import loss_weights


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    weights: {task: weight of its loss}.
    learn_weights: whether the losses of two or more tasks, multiplied by `weights`, are weighted by learned
        uncertainties.
    balancing: how the gradients of two or more tasks are combined, a name in `AGGREGATORS`; None adds them up.
    """

    dataset: DatasetSplits
    data: DataSettings
    training: TrainingSettings
    weights: Mapping[str, float]
    learn_weights: bool
    fabric: Fabric
    balancing: str | None = None

    @classmethod
    def from_config(
        cls, config: Config, dataset: DatasetSplits, fabric: Fabric, weights: Mapping[str, float] | None = None
    ) -> "Recipe":
        """The recipe of a configuration; `weights` replace those of `config.loss_weights`.

        Raises InputError for loss weights that cannot be used, and a package that is missing.
        """
        check_loggers(config.training.loggers)
        check_balancing(config.loss_weights.method)
        weights = loss_weights(dataset.tasks, config.loss_weights) if weights is None else weights
        learned = config.loss_weights.method == "uncertainty"
        balancing = config.loss_weights.method if config.loss_weights.method in AGGREGATORS else None
        return cls(dataset, config.data, config.training, weights, learned, fabric, balancing)
