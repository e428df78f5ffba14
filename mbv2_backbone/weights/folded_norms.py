"""Make batch norms that were folded into their convolutions fit for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NOTE = (
    'batch norms are folded into the convolutions: tools/train.py gives them the statistics of '
    'training images; another runner needs norm_eval=True in the backbone'
)
_MIN_VARIANCE = 1e-6


def folded_norms(model: nn.Module) -> list[nn.Module]:
    """Return the batch norms that only add a bias, as those of a `.tflite` do."""
    return [
        norm
        for norm in model.modules()
        if isinstance(norm, _BatchNorm)
        and norm.track_running_stats
        and norm.affine
        and not norm.running_mean.any()
        and bool((norm.weight == 1).all())
        and bool(norm.bias.any())
    ]


def calibrate(
    norms: Sequence[nn.Module],
    run: Callable[[], None],
    *,
    reduce: Callable[[Tensor], None] | None = None,
) -> None:
    """Give batch norms the statistics of images, and scales that leave every output as it was.

    A batch norm with other statistics than its input has would change the network as soon as
    training normalises by the batch.

    Args:
        norms: Batch norms of a network in eval mode.
        run: Passes images through the network.
        reduce: Adds up a tensor over all processes, in place.
    """
    sums: dict[nn.Module, Tensor] = {}

    def add(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        # Per batch on the device, which may lack float64; the total is exact.
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        mean, variance = mean.cpu().double(), variance.cpu().double()
        number = inputs[0].numel() / len(mean)
        found = torch.stack([mean, variance + mean**2, torch.ones_like(mean)]) * number
        sums[norm] = sums.get(norm, 0) + found

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    for norm, found in sums.items():
        if reduce is not None:
            reduce(found)
        total, squares, count = found
        mean = total / count
        _set_statistics(norm, mean, (squares / count - mean**2).clamp_min(_MIN_VARIANCE))


@torch.no_grad()
def _set_statistics(norm: nn.Module, mean: Tensor, variance: Tensor) -> None:
    mean, variance = mean.to(norm.weight), variance.to(norm.weight)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias += (mean - norm.running_mean) * scale
    norm.weight.copy_((variance + norm.eps).sqrt() * scale)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
