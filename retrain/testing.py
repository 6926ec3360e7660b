"""A conformance check that the author of a baseline can run on his own class."""

import torch

from experiment.config import DataSettings, NetworkSettings
from multitask.tasks import build_tasks
from retrain.baselines.base import Baseline
from search_spaces import SearchSpace


def check_baseline(kind: type[Baseline], network: NetworkSettings | None = None) -> None:
    """Raises AssertionError where a baseline breaks its contract.

    Checked, for each of its arguments: the same model for the same seed; a network for the tasks (or one for each)
    whose outputs have the image's size and the tasks' channels; finite gradients.
    """
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    space = SearchSpace(tuple(tasks), ("none", "global", "padnet_gate"))
    settings = network or NetworkSettings(channels=8)
    for argument in kind.arguments(space) or ("",):
        model = kind().model(space, 3, argument)
        assert model == kind().model(space, 3, argument), f"{model.name}: another model for the same seed"
        groups = [{name: task} for name, task in tasks.items()] if model.separate else [tasks]
        for group in groups:
            built = model.build(settings, group, seed=3).train()
            image = torch.randn(2, 3, 45, 64, generator=torch.Generator().manual_seed(0))
            predictions = built(image).predictions
            for name, task in group.items():
                shape = tuple(predictions[name].shape)
                expected = (2, task.channels, 45, 64)
                assert shape == expected, f"{model.name}: prediction of {name} has shape {shape}, expected {expected}"
            torch.stack([maps.square().mean() for maps in predictions.values()]).sum().backward()
            for key, parameter in built.named_parameters():
                finite = parameter.grad is None or bool(parameter.grad.isfinite().all())
                assert finite, f"{model.name}: the gradient of {key} is not finite"
