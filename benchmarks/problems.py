"""Problems on the rooms of `sensors`, by what each task sees; rules were tried on `plain` alone.

All but `one_camera` give the tasks sensors of their own. What differs is which of them holds what the others lack.
"""

from dataclasses import replace
from typing import Any

from experiment.config import Config, LossWeightSettings, SensorSettings

# {name: keys of data.sensors}
PROBLEMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "displaced": {"displacement": 2},
    "far": {"displacement": 5},
    "dark": {"noise": {"colour": 1.5, "grey": 1.5}},
    "clear": {"noise": {"colour": 0.1, "grey": 0.1, "range": 0.2}, "holes": 0.6},
    "swapped": {"tasks": {"semseg": "range", "depth": "colour", "normals": "grey"}},
    "events": {"tasks": {"semseg": "events", "depth": "range", "normals": "grey"}},
    "one_camera": {"tasks": {"semseg": "colour", "depth": "colour", "normals": "colour"}},
    "four": {},  # with edges
}
EDGE_WEIGHT = 25.0


def problem(config: Config, name: str) -> Config:
    """The configuration with the sensors of a problem."""
    data = replace(config.data, sensors=SensorSettings(**PROBLEMS[name]))
    if name != "four":
        return replace(config, data=data)
    weights = LossWeightSettings(weights={**config.loss_weights.weights, "edge": EDGE_WEIGHT})
    return replace(config, data=replace(data, tasks=[*data.tasks, "edge"]), loss_weights=weights)
