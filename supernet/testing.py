"""A conformance check that the author of a strategy can run on his own class."""

from dataclasses import replace
from pathlib import Path

from experiment.config import (
    Config,
    DataSettings,
    NetworkSettings,
    SearchSettings,
    SpaceSettings,
    TrainingSettings,
)
from experiment.run import Run
from multitask.data import open_dataset
from multitask.training.hardware import Hardware
from multitask.training.loss_weighting import loss_weights
from search_spaces import SearchSpace
from supernet.context import SearchContext
from supernet.records.choices import Choice
from supernet.records.selection_history import SELECTION, read_history
from supernet.strategies import STRATEGIES, Strategy

Choices = dict[tuple[str, str], Choice]


def check_strategy(kind: type[Strategy], folder: Path) -> None:
    """Runs short searches in `folder` on tiny scenes and raises AssertionError where the strategy breaks its contract.

    Checked: a legal choice for every pair in the space's order; selection.csv with probabilities that add up to 1;
    a trained supernet for what follows; the same choices for the same seed; and that a finished training is resumed
    to the same choices.
    """
    config = Config(
        data=DataSettings(
            height=32, width=48, tasks=["semseg", "depth"], train_images=8, validation_images=2, workers=0
        ),
        network=NetworkSettings(channels=8),
        space=SpaceSettings(blocks=["none", "global", "padnet_gate"]),
        search=_settings(kind),
        training=TrainingSettings(iterations=4, batch_size=2, optimizer="adamw", learning_rate=1e-3),
        device="cpu",
    )
    kind.check(config, open_dataset(config.data))
    first, context = _search(kind, config, folder / "one", False)
    assert context.trained is not None, f"{kind.name} trained no supernet by context.trainer"
    assert list(first) == list(context.space.pairs), (
        f"{kind.name} chose for {list(first)}: expected all pairs, in order"
    )
    for pair, choice in first.items():
        legal = context.space.legal(pair)
        assert choice.block in legal, f"{kind.name} chose {choice.block} for {pair}: expected one of {legal}"
    history = read_history(folder / "one" / SELECTION)
    for pair, blocks in history.probabilities.items():
        for i, step in enumerate(history.steps):
            total = sum(line[i] for line in blocks.values())
            assert abs(total - 1) < 1e-4, f"{kind.name}: probabilities of {pair} at step {step} add up to {total}"
    again, _ = _search(kind, config, folder / "two", False)
    assert first == again, f"{kind.name} chose otherwise with the same seed"
    resumed, _ = _search(kind, config, folder / "one", True)
    assert first == resumed, f"{kind.name} chose otherwise after resuming a finished training"


def _settings(kind: type[Strategy]) -> SearchSettings:
    """Those of a search by this strategy, with few samples where it draws samples."""
    name = kind.name if STRATEGIES.get(kind.name) is kind else f"{kind.__module__}:{kind.__qualname__}"
    settings = SearchSettings(strategy=name, recalibration_batches=1)
    if not hasattr(getattr(settings, name, None), "samples"):
        return settings
    own = getattr(settings, name)
    return replace(settings, **{name: replace(own, samples=3)})


def _search(kind: type[Strategy], config: Config, folder: Path, resume: bool) -> tuple[Choices, SearchContext]:
    dataset = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))
    weights = loss_weights(dataset.tasks, config.loss_weights)
    run = Run(folder, config.to_dict(), resume)
    context = SearchContext(config, dataset, space, weights, Hardware("cpu").fabric(), run)
    return kind().search(context), context
