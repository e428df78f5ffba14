"""Convolution, norm and ReLU that keep one map for the backward pass, where torch keeps two."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from math import inf

import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from .strided import FastStrides


class _ClampInPlace(torch.autograd.Function):
    """Clamp to [0, 6] in place. The output determines the gradient as well as the input does."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        x.clamp_(0, 6)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, out, 0, 6)


@MODELS.register_module()
class LeanReLU6(nn.ReLU6):
    """ReLU6 that trains with one copy fewer of each feature map.

    torch's own ReLU6 copies its input for the backward pass, in place or not.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Clamp to [0, 6]."""
        # A compiler removes the copy anyway.
        is_eager = not torch.compiler.is_compiling()
        if self.training and self.inplace and x.requires_grad and is_eager:
            return _ClampInPlace.apply(x)
        return super().forward(x)


# What activations clamp to, from 0.
_UPPER = {nn.ReLU: inf, nn.ReLU6: 6.0, LeanReLU6: 6.0, type(None): None}


class _NormClamp(torch.autograd.Function):
    """Batch norm and a clamp to [0, upper]; keeps what was normalised, and not the result."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        upper: float | None,
    ) -> Tensor:
        # The kernels that `F.batch_norm` takes on each device.
        out, mean, invstd, reserve, kernel = torch.ops.aten._batch_norm_impl_index(
            x, weight, bias, norm.running_mean, norm.running_var, norm.training, norm.momentum,
            norm.eps, torch.backends.cudnn.enabled,
        )  # fmt: skip
        if not norm.training:
            mean, invstd = norm.running_mean, (norm.running_var + norm.eps).rsqrt()
        ctx.save_for_backward(x, weight, bias, mean, invstd, reserve)
        ctx.kernel, ctx.is_training, ctx.eps, ctx.upper = kernel, norm.training, norm.eps, upper
        ctx.saved = ctx.remade = None
        return _clamp(out, upper)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.upper is not None:
            # All who take the result have read it by now, so that its memory serves again.
            out = _remake(ctx)
            grad = torch.ops.aten.hardtanh_backward.grad_input(
                grad, out, 0, ctx.upper, grad_input=out
            )
        x, weight, _, mean, invstd, reserve = _saved(ctx)
        ctx.saved = ctx.remade = None
        grads = torch.ops.aten._batch_norm_impl_index_backward(
            ctx.kernel, x, grad, weight, mean, invstd**-2 - ctx.eps, mean, invstd,
            ctx.is_training, ctx.eps, ctx.needs_input_grad[:3], reserve,
        )  # fmt: skip
        return *grads, None, None


def _saved(node: FunctionCtx) -> tuple[Tensor, ...]:
    """Return what a `_NormClamp` saved, read once, as torch's checkpoints ask for."""
    if node.saved is None:
        node.saved = node.saved_tensors
    return node.saved


@torch.no_grad()
def _remake(node: FunctionCtx) -> Tensor:
    """Return the result of a `_NormClamp` again, once made until its own backward pass."""
    if node.remade is None:
        x, weight, bias, mean, invstd, _ = _saved(node)
        out = F.batch_norm(x, mean, invstd**-2 - node.eps, weight, bias, eps=node.eps)
        node.remade = _clamp(out, node.upper)
    return node.remade


def _clamp(x: Tensor, upper: float | None) -> Tensor:
    return x if upper is None else x.clamp_(0, upper)


def _input_forgotten(x: Tensor) -> saved_tensors_hooks:
    """Let a convolution of `x`, the result of a `_NormClamp`, remake it instead of keeping it."""
    node, shape, given = x.grad_fn, x.shape, weakref.ref(x)

    def pack(saved: Tensor) -> Tensor | tuple[FunctionCtx, list[int]]:
        if saved is given():
            return node, []
        made_from = saved.grad_fn.next_functions[0][0] if saved.grad_fn else None
        if made_from is node and saved.shape != shape:  # padded, by TensorFlow's rule
            height, width = (saved.shape[i] - shape[i] for i in (2, 3))
            return node, [width // 2, width - width // 2, height // 2, height - height // 2]
        return saved

    return saved_tensors_hooks(pack, _unpack)


def _unpack(packed: Tensor | tuple[FunctionCtx, list[int]]) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    node, padding = packed
    return F.pad(_remake(node), padding) if padding else _remake(node)


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Call a convolution, which does not keep its input if a lean norm can make it again."""
    if torch.compiler.is_compiling():
        return conv(x)
    forgotten = _input_forgotten(x) if hasattr(x.grad_fn, 'remade') else nullcontext()
    is_strided = x.requires_grad and max(conv.stride) > 1
    with forgotten, FastStrides() if is_strided else nullcontext():
        return conv(x)


class LeanConvModule(ConvModule):
    """mmcv's `ConvModule`, which trains with one map for each convolution, norm and ReLU.

    Torch keeps the map before the norm and the one after the ReLU. The second follows from the
    first and the norm's statistics, so that it is made again when the backward pass comes to the
    convolution after it. Values and gradients are those of the stock module, as far as rounding
    goes; a second derivative is refused by torch.

    This concerns a `BatchNorm2d` and a ReLU or ReLU6 without hooks; else, without gradients and
    under a compiler, which does as much by itself, it is the stock module.
    """

    def forward(self, x: Tensor, activate: bool = True, norm: bool = True) -> Tensor:
        """Map `(N, in_channels, H, W)` to `(N, out_channels, H / stride, W / stride)`."""
        if not torch.is_grad_enabled() or torch.compiler.is_compiling() or not self._is_usual():
            return super().forward(x, activate, norm)
        x = convolve(self.conv, x)
        if activate and norm and x.requires_grad and self._can_forget(x):
            if self.norm.training:
                self.norm.num_batches_tracked.add_(1)
            upper = _UPPER[type(self.activate if self.with_activation else None)]
            return _NormClamp.apply(x, self.norm.weight, self.norm.bias, self.norm, upper)
        x = self.norm(x) if norm and self.with_norm else x
        return self.activate(x) if activate and self.with_activation else x

    def _is_usual(self) -> bool:
        usual_order = self.order == ('conv', 'norm', 'act')
        return usual_order and not (
            self.with_explicit_padding
            or self.with_spectral_norm
            or self.efficient_conv_bn_eval_forward
        )

    def _can_forget(self, x: Tensor) -> bool:
        norm, act = self.norm, self.activate if self.with_activation else None
        return (
            type(norm) is nn.BatchNorm2d
            and type(act) in _UPPER
            and norm.affine
            and norm.track_running_stats
            and norm.momentum is not None
            and not (_is_hooked(norm) or (act and _is_hooked(act)))
            and (not norm.training or x.numel() > x.shape[1])  # torch refuses one value
        )


def _is_hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def make_lean(module: nn.Module) -> None:
    """Turn every plain `ConvModule` within a module into a `LeanConvModule`."""
    for each in module.modules():
        if type(each) is ConvModule:
            each.__class__ = LeanConvModule
