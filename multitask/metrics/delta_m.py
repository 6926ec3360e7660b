"""Delta_m: how much better a multi-task model is than single-task models, in percent, averaged over tasks.

Maninis et al., Attentive Single-Tasking of Multiple Tasks, CVPR 2019:
Delta_m = (100 / N) sum_i (-1)^{gamma_i} (M_i - B_i) / B_i, where gamma_i = 1 if lower is better in task i of N,
M_i is the model's metric and B_i the baseline's. Positive is better.
"""

import math
from collections.abc import Mapping

PrimaryValues = Mapping[str, float]  # {task: value of its primary metric}


def contributions(
    model: PrimaryValues, baseline: PrimaryValues, higher_is_better: Mapping[str, bool]
) -> dict[str, float]:
    """What each task adds to Delta_m, in percentage points; their sum is Delta_m. Baselines must be positive."""
    share = 100 / len(baseline)
    return {
        task: share * (model[task] - reference if higher_is_better[task] else reference - model[task]) / reference
        for task, reference in baseline.items()
    }


def delta_m(model: PrimaryValues, baseline: PrimaryValues, higher_is_better: Mapping[str, bool]) -> float:
    """Delta_m in percent."""
    return sum(contributions(model, baseline, higher_is_better).values())


def log_score(model: PrimaryValues, higher_is_better: Mapping[str, bool]) -> float:
    """Mean over the tasks of the primary metric's logarithm, the sign turned where lower is better.

    Differences are relative changes, so that the best model is the one of the largest Delta_m, whatever the baseline.
    """
    logs = {name: math.log(max(value, 1e-6)) for name, value in model.items()}
    return sum(log if higher_is_better[name] else -log for name, log in logs.items()) / len(logs)
