"""How the learning rate falls while a network is trained."""

from experiment.config import TrainingSettings


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Of the update after `step` others.

    poly: (first - last) (1 - step / iterations)^power + last, as in Chen et al., DeepLab, 2017, where last is 0.
    step: first, multiplied by a factor at each milestone that is past.
    """
    s = settings
    if s.schedule == "step":
        return s.learning_rate * s.step_factor ** sum(step >= milestone for milestone in s.milestones)
    return (s.learning_rate - s.final_rate) * (1 - step / s.iterations) ** s.poly_power + s.final_rate
