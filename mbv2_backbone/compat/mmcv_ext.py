"""Stand-in for `mmcv._ext` on torchvision and plain torch.

`compat.provide_ext` makes this file importable as `mmcv._ext` where mmcv was installed without its
compiled extension. Each function has the signature that `mmcv/ops/*.py` calls and fills the output
tensors in place, on whatever device they are on. Half and bfloat16 inputs are computed in float32.
Every other op of mmcv exists too, and raises a RuntimeError when it is called.
"""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align as torchvision_roi_align

# Absolute, because mmcv's `load_ext` finds this file as `mmcv._ext`, whose siblings are mmcv's.
from mbv2_backbone.compat.mmcv_ext_nms import full_precision, nms, nms_match, softnms  # noqa: F401

HOW_TO_COMPILE = (
    'Install an mmcv wheel built for your torch, or build one with a C++ compiler (and nvcc for '
    'CUDA): `MMCV_WITH_OPS=1 pip install --no-build-isolation --no-deps --force-reinstall '
    '--no-binary onedl-mmcv onedl-mmcv`; on the official stack `pip uninstall mmcv-lite` and then '
    'the same with mmcv, version 2.1.0, for onedl-mmcv. The sources of both ask for C++17 and do '
    'not build with torch 2.13 and later, whose headers need C++20.'
)
_ROI_POOL_CHUNK = 1 << 24  # elements gathered at a time by roi_pool: 64 MB of float32


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Return a stub for every op not implemented here: `load_ext` asks for the names on import."""
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing_op(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise RuntimeError(
            f'The mmcv op {name!r} needs the compiled extension mmcv._ext, which is not installed; '
            'mbv2_backbone replaces nms, softnms, nms_match, roi_align, roi_pool and '
            f'sigmoid_focal_loss only. {HOW_TO_COMPILE}'
        )

    return missing_op


def get_compiler_version() -> str:
    """Return a text in place of the version of a compiler."""
    return 'none (mmcv._ext is the torchvision stand-in of mbv2_backbone)'


get_compiling_cuda_version = get_compiler_version


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign of input (B, C, H, W) at rois (N, 5) into output (N, C, h, w).

    With `pool_mode` 0 (max) the row and the column of the winning sample inside its bin go to
    `argmax_y` and `argmax_x`; 1 is the average. A bin without samples (an empty RoI) gives 0.
    """
    size = (aligned_height, aligned_width)
    input, rois = full_precision(input), full_precision(rois).to(full_precision(input).dtype)
    if pool_mode == 1:
        out = torchvision_roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned)
        output.copy_(out)
        return
    for index, (grid_h, grid_w) in _sampling_grids(
        rois, size, spatial_scale, sampling_ratio, aligned
    ):
        fine_size = (size[0] * grid_h, size[1] * grid_w)
        samples = torchvision_roi_align(input, rois[index], fine_size, spatial_scale, 1, aligned)
        out, flat = F.max_pool2d(samples, (grid_h, grid_w), return_indices=True)
        output[index] = out.to(output.dtype)
        argmax_y[index] = (flat // fine_size[1] % grid_h).to(argmax_y.dtype)
        argmax_x[index] = (flat % fine_size[1] % grid_w).to(argmax_x.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient of `roi_align_forward` to grad_input (B, C, H, W)."""
    size = (aligned_height, aligned_width)
    grad_output, rois = (
        full_precision(grad_output),
        full_precision(rois).to(full_precision(grad_output).dtype),
    )
    # Bilinear sampling is linear in the input, so the gradient at zero is the gradient anywhere.
    zero = torch.zeros_like(grad_input, dtype=grad_output.dtype).requires_grad_()
    if pool_mode == 1:
        with torch.enable_grad():
            out = torchvision_roi_align(zero, rois, size, spatial_scale, sampling_ratio, aligned)
        grad_input += torch.autograd.grad(out, zero, grad_output)[0].to(grad_input.dtype)
        return
    for index, (grid_h, grid_w) in _sampling_grids(
        rois, size, spatial_scale, sampling_ratio, aligned
    ):
        fine_size = (size[0] * grid_h, size[1] * grid_w)
        rows = torch.arange(size[0], device=rois.device)[:, None] * grid_h + argmax_y[index].long()
        cols = torch.arange(size[1], device=rois.device) * grid_w + argmax_x[index].long()
        flat = (rows * fine_size[1] + cols).flatten(2)
        fine_grad = grad_output.new_zeros(*flat.shape[:2], fine_size[0] * fine_size[1])
        fine_grad.scatter_(2, flat, grad_output[index].flatten(2))
        with torch.enable_grad():
            out = torchvision_roi_align(zero, rois[index], fine_size, spatial_scale, 1, aligned)
        grad = torch.autograd.grad(out, zero, fine_grad.view_as(out))[0]
        grad_input += grad.to(grad_input.dtype)


def _sampling_grids(
    rois: Tensor, size: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool
) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Group the RoIs (N, 5) by the number of samples (rows, columns) in each of their bins.

    RoIAlign with one sample per bin on a grid that much finer outputs exactly these samples.
    """
    shift = 0.5 if aligned else 0.0
    corners = rois[:, 1:] * spatial_scale - shift
    roi_wh = corners[:, 2:] - corners[:, :2]
    if not aligned:
        roi_wh = roi_wh.clamp(min=1)
    if sampling_ratio > 0:
        grids = torch.full_like(roi_wh, sampling_ratio, dtype=torch.long)
    else:
        grids = (roi_wh / roi_wh.new_tensor([size[1], size[0]])).ceil().long()
    for grid_w, grid_h in grids.unique(dim=0).tolist():
        if grid_h > 0 and grid_w > 0:
            same = (grids == grids.new_tensor([grid_w, grid_h])).all(dim=1)
            yield same.nonzero().squeeze(1), (grid_h, grid_w)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """RoIPool of input (B, C, H, W) at rois (N, 5) into output (N, C, h, w).

    `argmax` gets the position `y * W + x` of each maximum, -1 where a bin is empty. Unlike
    torchvision's, mmcv's RoIPool does not round the RoI, and its far edge is at `x2 + 1`.
    """
    output.zero_()
    argmax.fill_(-1)
    height, width = input.shape[2:]
    input, rois = full_precision(input), full_precision(rois).to(full_precision(input).dtype)
    near, far = rois[:, 1:3] * spatial_scale, (rois[:, 3:] + 1) * spatial_scale
    valid = (far > near).all(dim=1, keepdim=True)
    x_index, x_inside = _pool_bins(near[:, 0], far[:, 0], pooled_width, width)
    y_index, y_inside = _pool_bins(near[:, 1], far[:, 1], pooled_height, height)
    y_inside &= valid[:, :, None]
    window = y_index.shape[-1] * x_index.shape[-1]
    if output.numel() == 0 or window == 0:
        return
    step = max(1, _ROI_POOL_CHUNK // (output[0].numel() * window))
    for part in torch.arange(len(rois), device=rois.device).split(step):
        flat = y_index[part, :, None, :, None] * width + x_index[part, None, :, None, :]
        inside = y_inside[part, :, None, :, None] & x_inside[part, None, :, None, :]
        flat, inside = flat.flatten(3), inside.flatten(3)  # (n, h, w, window)
        batch = rois[part, 0].long()[:, None, None, None]
        values = input.flatten(2).transpose(0, 1)[:, batch, flat].transpose(0, 1)
        values = values.masked_fill(~inside[:, None], -torch.inf)
        best, where = values.max(dim=-1)
        found = best > -torch.inf
        position = flat[:, None].expand(values.shape).gather(-1, where[..., None]).squeeze(-1)
        output[part] = best.where(found, 0).to(output.dtype)
        argmax[part] = position.where(found, -1).to(argmax.dtype)


def _pool_bins(near: Tensor, far: Tensor, bins: int, limit: int) -> tuple[Tensor, Tensor]:
    """Cells of each bin along one axis: indices and a mask, both (N, bins, widest bin)."""
    steps = torch.arange(bins, device=near.device, dtype=near.dtype)
    bin_size = ((far - near) / bins)[:, None]
    start = (steps * bin_size + near[:, None]).floor().clamp(0, limit).long()
    stop = ((steps + 1) * bin_size + near[:, None]).ceil().clamp(0, limit).long()
    widest = int((stop - start).max().clamp(min=0)) if start.numel() else 0
    cells = start[..., None] + torch.arange(widest, device=near.device)
    return cells.clamp(max=limit - 1), cells < stop[..., None]


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add the gradient of `roi_pool_forward` to grad_input (B, C, H, W)."""
    del pooled_height, pooled_width, spatial_scale  # argmax already reflects them
    batch, channels, height, width = grad_input.shape
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    flat = plane[:, :, None, None] * (height * width) + argmax
    found = argmax >= 0
    grad = full_precision(grad_output).new_zeros(batch * channels * height * width)
    grad.index_add_(0, flat[found], full_precision(grad_output)[found])
    grad_input += grad.view_as(grad_input).to(grad_input.dtype)


def _focal_terms(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Signed logits (N, C), positive where the class is the target; their sign; their weights.

    A target outside [0, C) is background: its row holds negatives only, and `weight`, which is
    per target class, counts as 1 there.
    """
    logits = full_precision(input)
    num_classes = logits.shape[1]
    positive = target[:, None] == torch.arange(num_classes, device=target.device)
    sign = torch.where(positive, 1.0, -1.0).to(logits)
    scale = torch.where(positive, alpha, 1 - alpha).to(logits)
    if weight.numel():
        known = (target >= 0) & (target < num_classes)
        row_weight = weight[target.where(known, 0)].where(known, 1)
        scale = scale * row_weight[:, None].to(logits)
    return logits * sign, sign, scale


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Sigmoid focal loss of logits (N, C) and targets (N,) into output (N, C)."""
    logits, _, scale = _focal_terms(input, target, weight, alpha)
    output.copy_(-scale * torch.sigmoid(-logits) ** gamma * F.logsigmoid(logits))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Gradient of `sigmoid_focal_loss_forward` by the logits into grad_input (N, C)."""
    logits, sign, scale = _focal_terms(input, target, weight, alpha)
    prob, miss = torch.sigmoid(logits), torch.sigmoid(-logits)
    slope = miss**gamma * (gamma * prob * F.logsigmoid(logits) - miss)
    grad_input.copy_(sign * scale * slope)
