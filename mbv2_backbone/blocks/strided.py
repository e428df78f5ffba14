"""Depthwise convolutions with a stride in bfloat16 on a CPU, whose gradient is slow in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class _StridedDepthwise(torch.autograd.Function):
    """Torch's convolution; the input's gradient is that of stride 1, of the gradient spread out.

    For this oneDNN has no fast kernel in bfloat16 (3.13, AVX-512): it takes 12 to 90 times as long.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.settings
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        grad_x = spread_gradient(grad, x.shape, weight, *ctx.settings) if needs_x else None
        dtype = weight.dtype
        if x.shape[3] < weight.shape[3]:
            # There oneDNN reads beyond the map: weights that only saw padding get a gradient.
            grad, x, weight = grad.float(), x.float(), weight.float()
        _, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, dilation, False, [0, 0], len(weight),
            [False, needs_weight, False],
        )  # fmt: skip
        return grad_x, grad_weight.to(dtype) if needs_weight else None, None, None, None


def spread_gradient(
    grad: Tensor,
    shape: Sequence[int],
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Return the gradient of a depthwise convolution's input, by a convolution of stride 1.

    Args:
        grad: Of its output, `(N, C, H', W')`.
        shape: Of its input, `(N, C, H, W)`.
        weight: `(C, 1, kernel_h, kernel_w)`.
        stride: Vertical and horizontal, as the others.
        padding: At most `dilation * (kernel - 1)`.
        dilation: Of the kernel.
    """
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    spread_hw = [n + 2 * p - r for n, p, r in zip(shape[2:], padding, reach, strict=True)]
    spread = torch.empty(
        (*shape[:2], *spread_hw),
        dtype=grad.dtype,
        device=grad.device,
        memory_format=torch.channels_last,
    ).zero_()
    spread[:, :, :: stride[0], :: stride[1]] = grad
    outer = [r - p for r, p in zip(reach, padding, strict=True)]
    return F.conv2d(spread, weight.flip(2, 3), None, 1, outer, dilation, len(weight))


class FastStrides(TorchFunctionMode):
    """Within it, depthwise convolutions with a stride in bfloat16 on a CPU train faster.

    Outputs and the gradients of the weights are torch's, those of the inputs as far as rounding
    goes.
    """

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Call a function of torch."""
        if func is torch.conv2d and not kwargs and len(args) == 7 and _is_slow(*args):
            x, weight = (arg.to(torch.bfloat16) for arg in args[:2])
            return _StridedDepthwise.apply(x, weight, *args[3:6])
        return func(*args, **(kwargs or {}))


@cache
def is_left_to_onednn() -> bool:
    """Return whether torch leaves bfloat16 on this CPU to oneDNN, as it does from AVX-512 on."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _is_slow(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> bool:
    dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
    return (
        x.requires_grad
        and x.device.type == 'cpu'
        and dtype == torch.bfloat16
        and is_left_to_onednn()
        and bias is None
        and max(stride) > 1
        and 1 < groups == len(weight) == x.shape[1]
        and not isinstance(padding, str)
        and all(
            p <= d * (k - 1) for p, d, k in zip(padding, dilation, weight.shape[2:], strict=True)
        )
    )
