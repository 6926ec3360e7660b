"""Loss balancing by the tasks' gradients of the weights that they share, with TorchJD's aggregators.

The loss of each task has a gradient of its own. Where several tasks have one for the same weights, an aggregator
combines these rows of the Jacobian into one update; what a single task uses, such as its head, gets its gradient.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from experiment.errors import InputError, one_line
from experiment.seeds import derive_seed
from multitask.processes import average

# {method: (class in torchjd.aggregation, whether it takes preferences)}
AGGREGATORS = {
    "upgrad": ("UPGrad", True),  # Quinton and Rey, Jacobian Descent for Multi-Objective Optimization, 2024
    "dualproj": ("DualProj", True),  # Lopez-Paz and Ranzato, Gradient Episodic Memory, NeurIPS 2017
    "aligned_mtl": ("AlignedMTL", True),  # Senushkin et al., CVPR 2023
    "mgda": ("MGDA", False),  # Desideri, 2012; Sener and Koltun, NeurIPS 2018
    "pcgrad": ("PCGrad", False),  # Yu et al., NeurIPS 2020
    "imtl_g": ("IMTLG", False),  # Liu et al., ICLR 2021
    "graddrop": ("GradDrop", False),  # Chen et al., NeurIPS 2020
}
CPU = torch.device("cpu")


def check_balancing(method: str) -> None:
    """Raises InputError where a method needs TorchJD, and it is missing."""
    if method in AGGREGATORS:
        Balancing(method, 2, 0)


class Balancing:
    """One of `AGGREGATORS`, none of which keeps anything from step to step; what it draws follows from seed and step.

    Raises InputError if TorchJD is missing.
    """

    def __init__(self, method: str, tasks: int, seed: int, device: torch.device = CPU):
        name, preferring = AGGREGATORS[method]
        # equal preferences, which give the sum of the gradients where none of them conflict
        preferences = [torch.ones(tasks, device=device)] if preferring else []
        try:
            import torchjd.aggregation

            self.aggregator = getattr(torchjd.aggregation, name)(*preferences)
        except ImportError as error:
            need = f"loss_weights.method is {method}, which needs torchjd ({one_line(error)})"
            raise InputError(f"{need}: expected after pip install 'torchjd[quadprog-projector]>=0.18'") from error
        self.seed = seed

    def backward(self, losses: Mapping[str, Tensor], parameters: Sequence[nn.Parameter], step: int) -> None:
        """Sets the gradients of the parameters; of several processes, those of the whole batch."""
        last = list(losses)[-1]
        of_tasks = [
            torch.autograd.grad(loss, parameters, retain_graph=name != last, allow_unused=True)
            for name, loss in losses.items()
        ]
        shared: list[nn.Parameter] = []
        rows: list[list[Tensor]] = [[] for _ in losses]
        for parameter, *gradients in zip(parameters, *of_tasks, strict=True):
            own = [gradient for gradient in gradients if gradient is not None]
            if len(own) < 2:
                parameter.grad = average(own[0]) if own else None
                continue
            shared.append(parameter)
            for row, gradient in zip(rows, gradients, strict=True):
                row.append((torch.zeros_like(parameter) if gradient is None else gradient).flatten())
        if not shared:
            return
        jacobian = average(torch.stack([torch.cat(row) for row in rows]))  # (tasks, weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "balancing", step))
            combined = self.aggregator(jacobian)
        for parameter, part in zip(shared, combined.split([p.numel() for p in shared]), strict=True):
            parameter.grad = part.view_as(parameter)
