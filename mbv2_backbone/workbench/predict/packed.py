"""Prepack convolutions for oneDNN, to predict faster in PyTorch on a CPU."""

from __future__ import annotations

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn


class PackedConv(nn.Module):
    """A convolution and the ReLU6 after it in one call, with weights laid out only once.

    torch lays weights out again in each call and makes a separate pass over memory for the
    activation. The layout is chosen for the size of the first input; it works for other sizes.

    Args:
        conv: A float32 convolution on the CPU.
        has_relu6: Clamp the output to [0, 6].
    """

    def __init__(self, conv: nn.Conv2d, *, has_relu6: bool) -> None:
        super().__init__()
        self.conv = conv
        self.post = ('hardtanh', [0.0, 6.0], '') if has_relu6 else ('none', [], '')
        self.weight: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution and the activation to `(N, in_channels, H, W)`."""
        conv = self.conv
        where = (conv.padding, conv.stride, conv.dilation, conv.groups)
        if self.weight is None:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(
                conv.weight, *where, list(x.shape)
            )
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, conv.bias, *where, *self.post
        )


def pack_convolutions(model: nn.Module) -> None:
    """Replace each convolution that `PackedConv` supports, in place.

    Does nothing if this torch has no oneDNN.

    Args:
        model: A network that only predicts, on a CPU, with batch norms folded.
    """
    operators = ('_reorder_convolution_weight', '_convolution_pointwise')
    if not torch.backends.mkldnn.is_available() or not all(
        hasattr(torch.ops.mkldnn, name) for name in operators
    ):
        return
    for name, child in list(model.named_children()):
        if isinstance(child, ConvModule) and _does_only_conv_and_relu6(child):
            setattr(model, name, PackedConv(child.conv, has_relu6=child.with_activation))
        elif _can_be_packed(child):
            setattr(model, name, PackedConv(child, has_relu6=False))
        else:
            pack_convolutions(child)


def _does_only_conv_and_relu6(module: ConvModule) -> bool:
    norm = module.norm if module.with_norm else nn.Identity()
    return (
        _can_be_packed(module.conv)
        and isinstance(norm, nn.Identity)
        and not module.with_explicit_padding
        and not module.with_spectral_norm
        and module.order[0] == 'conv'
        and (not module.with_activation or isinstance(module.activate, nn.ReLU6))
    )


def _can_be_packed(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.padding_mode == 'zeros'
        and isinstance(module.padding, tuple)
        and module.weight.dtype == torch.float32
    )
