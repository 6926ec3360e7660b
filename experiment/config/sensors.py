"""data.sensors: what each task of the dataset `sensors` sees."""

from dataclasses import dataclass, field

from experiment.config.checks import at_least, one_of, plain_values
from experiment.errors import InputError, unknown

# {sensor: standard deviation of its noise}, in the unit of its readings
NOISE = {"colour": 0.5, "range": 0.05, "grey": 0.5, "events": 0.2}
# {task: its sensor}
SENSOR_OF = {
    "semseg": "colour",
    "depth": "range",
    "normals": "grey",
    "edge": "events",
    "human_parts": "grey",
    "saliency": "colour",
}


@dataclass(frozen=True)
class SensorSettings:
    """The sensors of the dataset `sensors`. Raises InputError for values that no sensor can have.

    Args:
        tasks: sensor of each task, such as {semseg - colour, depth - colour}, of colour, range, grey and events; a task
            left out has a sensor of its own kind. Where all tasks have the same sensor, they see one image.
        noise: standard deviation of the noise of each sensor - of colour and grey in standard deviations of a photo
            (0.226 of full scale), of range in 1/m, of events in units of the log gradient; a sensor left out keeps its
            own, {colour - 0.5, range - 0.05, grey - 0.5, events - 0.2}.
        holes: share of the range sensor's cells without a reading.
        cell: side of the range sensor's cells, in pixels; it reads the mean inverse depth of each.
        displacement: pixels by which the views of sensors differ, one above the other - colour and events at 0, range
            this much lower, grey this much higher. The labels of a task move with its sensor.
    """

    tasks: dict[str, str] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    holes: float = 0.3
    cell: int = 4
    displacement: int = 0

    def __post_init__(self) -> None:
        plain_values("data.sensors", self)
        for task, sensor in self.tasks.items():
            if task not in SENSOR_OF:
                raise unknown("task in data.sensors.tasks", task, SENSOR_OF)
            one_of(f"data.sensors.tasks.{task}", sensor, NOISE)
        for sensor, noise in self.noise.items():
            if sensor not in NOISE:
                raise unknown("sensor in data.sensors.noise", sensor, NOISE)
            at_least(f"data.sensors.noise.{sensor}", noise, 0)
        if not 0 <= self.holes < 1:
            raise InputError(f"data.sensors.holes is {self.holes}: expected at least 0 and below 1")
        at_least("data.sensors.cell", self.cell, 1)
        at_least("data.sensors.displacement", self.displacement, 0)

    def sensor_of(self, task: str) -> str:
        return self.tasks.get(task, SENSOR_OF[task])

    def noise_of(self, sensor: str) -> float:
        return self.noise.get(sensor, NOISE[sensor])
