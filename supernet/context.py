"""What a search strategy works with: the data, supernets and their training, the run and its records."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from experiment.config import Config
from experiment.run import Run
from experiment.seeds import derive_seed
from multitask.data import DatasetSplits
from multitask.network import MultiTaskNetwork, exchange_channels
from multitask.training.callback import Callback
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from search_spaces import SearchSpace
from supernet.cost.budget import Budget
from supernet.cost.memory import Conditions, settle
from supernet.records.selection_history import SELECTION, SelectionRecord
from supernet.samplers import Sampler
from supernet.score_test.memory import describe_probes
from supernet.score_test.probes import ProbedNetwork, ProbeTrainer
from supernet.search_split import Images, trained_on
from supernet.supernet import Supernet


@dataclass
class SearchContext:
    """Everything that `Strategy.search` needs.

    weights: {task: weight of its loss}. budget: None where `search.budget` is not set.
    trained: the trainer of the supernet whose weights evaluate architectures after the search; `trainer` sets it.
    figures: numbers that a strategy leaves for metrics.json.
    recompute: the blocks to recompute, once the first supernet has settled them; probed: whether probes were trained.
    """

    config: Config
    dataset: DatasetSplits
    space: SearchSpace
    weights: Mapping[str, float]
    fabric: Fabric
    run: Run
    budget: Budget | None = None
    trained: Trainer | None = None
    trainers: list[Trainer] = field(default_factory=list)
    choice_seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    recompute: tuple[str, ...] | None = None
    probed: bool = False

    @property
    def seed(self) -> int:
        return self.config.seed

    def generator(self, *names: str) -> torch.Generator:
        """A random generator for a named purpose; its seed follows from the search's."""
        return torch.Generator().manual_seed(derive_seed(self.seed, *names))

    def supernet(self, sampler: Sampler, *names: str) -> MultiTaskNetwork:
        """The multi-task network with a supernet in its exchange slot.

        The exchange's initial weights follow from the seed and `names`, all others from the seed alone.
        """
        config = self.config
        supernet = Supernet(
            self.space,
            exchange_channels(config.network, self.space.scales),
            sampler,
            config.search.recompute,
            derive_seed(self.seed, *names) if names else self.seed,
        )
        # every task has label regions in search, whichever block will be chosen
        regions = supernet.exchange.region_tasks()
        network = MultiTaskNetwork(config.network, self.dataset.tasks, supernet, regions, seed=self.seed)
        if self.recompute is None:
            print("counting the memory of a step")
            print(settle(network, Conditions.of(config, self.fabric.device), self.fabric.device))
            self.recompute = supernet.exchange.recompute
        supernet.exchange.recompute = self.recompute
        return network

    def trainer(
        self,
        network: MultiTaskNetwork,
        callback: Callback | None = None,
        *,
        images: Images | None = None,
        iterations: int | None = None,
        name: str = "",
        label: str = "supernet",
    ) -> Trainer:
        """A trainer of a network by the search's recipe; `fit` runs or resumes it.

        images: training images, by default all. iterations: by default the configuration's. name: of a training beside
        the main one, which gets a folder in the run and a seed of its own. label: of its bar.
        """
        dataset = self.dataset if images is None else trained_on(self.dataset, images)
        recipe = Recipe.from_config(self.config, dataset, self.fabric, self.weights)
        if iterations is not None:
            recipe = replace(recipe, training=replace(recipe.training, iterations=iterations))
        run, seed = self.run, self.seed
        if name:
            seed = derive_seed(seed, name)
            run = self.run.part(name, {"iterations": recipe.training.iterations, "seed": seed})
        trainer = Trainer(network, recipe, run, seed, callback=callback, label=label)
        self.trainers.append(trainer)
        self.trained = trainer
        return trainer

    def probe_trainer(self, model: ProbedNetwork, images: Images, name: str, label: str) -> ProbeTrainer:
        """A trainer of probes, with a folder in the run and a seed of its own. Heads and loss weights stay."""
        recipe = Recipe.from_config(self.config, trained_on(self.dataset, images), self.fabric, self.weights)
        conditions = Conditions.of(self.config, self.fabric.device)
        if not self.probed:
            print("counting the memory of a step of the probes")
            print(describe_probes(model, conditions, self.fabric.device))
            self.probed = True
        training = replace(
            recipe.training,
            iterations=self.config.search.score.iterations or recipe.training.iterations // 3 or 1,
            prior_start=False,
            clip_norm=None,  # probes share nothing, and no norm either
        )
        recipe = replace(recipe, training=training, learn_weights=False, balancing=None)
        seed = derive_seed(self.seed, name)
        run = self.run.part(name, {"iterations": training.iterations, "seed": seed})
        return ProbeTrainer(model, recipe, run, seed, label=label)

    def record(self, step: int = 0) -> SelectionRecord:
        """Opens selection.csv where `step` steps are done; a new one starts with an even choice."""
        record = SelectionRecord(Path(self.run.path(SELECTION)), self.space, step)
        if step == 0:
            record.add_even()
        return record

    @contextmanager
    def choosing(self) -> Iterator[None]:
        """Counts the time as spent on the choice, not on training."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.choice_seconds += time.monotonic() - began

    @property
    def training_seconds(self) -> float:
        return sum(trainer.seconds for trainer in self.trainers)
