"""Batch normalisation over the images of several processes.

torch's SyncBatchNorm takes no tensors on a CPU and replaces modules of its own kind alone. Every batch norm, those of
timm and of the exchange's pairs too, ends in `torch.nn.functional.batch_norm`, which is what is replaced here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Sum = Callable[[Tensor], Tensor]  # over the processes, in place

_torch_batch_norm = F.batch_norm


@contextmanager
def over(sum_over: Sum | None) -> Iterator[None]:
    """While open, statistics of batches are those of all processes' images; None for this process's alone."""
    if sum_over is None:
        yield
        return

    def batch_norm(
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return _torch_batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        output, mean, var, size = _BatchNorm.apply(input, weight, bias, eps, sum_over)
        if running_mean is not None and running_var is not None and momentum:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (size / (size - 1))).to(running_var.dtype), momentum)
        return output

    former, F.batch_norm = F.batch_norm, batch_norm  # type: ignore[assignment]
    try:
        yield
    finally:
        F.batch_norm = former


class _BatchNorm(torch.autograd.Function):
    """Ioffe and Szegedy, Batch Normalization, ICML 2015. Input (B, C, ...), here of this process's images.

    Returns the output, and the mean (C,), the biased variance (C,) and the number of values of all processes' images.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, sum_over: Sum
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = input.shape[1]
        start = torch.zeros(2, channels, device=input.device)  # so that statistics are fp32, whatever the input
        mean, var = (part.double() for part in torch.batch_norm_update_stats(input, start[0], start[1], 1.0))
        size = input.numel() // channels
        sums = torch.cat([mean * size, (var + mean.square()) * size, mean.new_full((1,), size)])
        sums = sum_over(sums)
        mean, square = sums[:-1].div(sums[-1]).split(channels)
        var = (square - mean.square()).clamp_min(0)
        mean32, var32 = mean.float(), var.float()
        output = _torch_batch_norm(input, mean32, var32, weight, bias, False, 0.0, eps)
        total = sums[-1].clone()
        ctx.save_for_backward(input, weight, mean32, var32, total)
        ctx.eps, ctx.sum_over, ctx.has_bias = eps, sum_over, bias is not None
        ctx.mark_non_differentiable(mean, var, total)
        return output, mean, var, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, var, size = ctx.saved_tensors
        inverse = (var + ctx.eps).rsqrt()
        own: list[Tensor] = list(
            torch.ops.aten.native_batch_norm_backward(
                gradient, input, weight, mean, var, mean, inverse, False, ctx.eps, [True, True, True]
            )
        )
        into_input, of_weight, of_bias = own
        # the statistics, too, depend on the input, of all processes
        sums = ctx.sum_over(torch.cat([of_weight, of_bias]).double()) / size
        through_var, through_mean = sums.float().split(len(mean))
        scale = inverse if weight is None else inverse * weight
        shape = (1, -1, *[1] * (input.dim() - 2))
        slope = -scale * through_var * inverse
        offset = -scale * through_mean - slope * mean
        into_input = into_input.addcmul_(input, slope.view(shape).to(input.dtype)).add_(offset.view(shape))
        return into_input, None if weight is None else of_weight, of_bias if ctx.has_bias else None, None, None
