"""The NMS ops of `mmcv_ext`: greedy, soft and grouping."""

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms


def full_precision(tensor: Tensor) -> Tensor:
    """Raise the dtype to at least float32; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy NMS; boxes (N, 4) xyxy, scores (N,); a width is `x2 - x1 + offset`.

    Returns:
        The indices (K,) that are kept, by descending score.
    """
    boxes = full_precision(boxes)
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    # mmcv compares in the dtype of the boxes: an IoU of 0.6 is not above a threshold of 0.6.
    threshold = boxes.new_tensor(iou_threshold, device='cpu').item()
    return torchvision_nms(boxes, scores.to(boxes.dtype), threshold)


def _iou(box: np.ndarray, boxes: np.ndarray, offset: int) -> np.ndarray:
    """IoU (N,) of one xyxy box (4,) with boxes (N, 4); 0 where the union is empty."""
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0]) + offset
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1]) + offset
    inter = width.clip(min=0) * height.clip(min=0)
    area = (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
    areas = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
    union = area + areas - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS; boxes (N, 4) xyxy, scores (N,); method 0 naive, 1 linear, 2 gaussian.

    Fills the first K rows of `dets` (N, 5) with the kept boxes and their lowered scores, in the
    order in which they were picked.

    Returns:
        The indices (K,) that are kept.
    """
    coords = full_precision(boxes.detach()).numpy()
    left = full_precision(scores.detach()).numpy().copy()
    order = np.arange(len(coords))
    picked = 0
    while picked < len(order):
        best = picked + int(left[order[picked:]].argmax())
        order[[picked, best]] = order[[best, picked]]
        rest = order[picked + 1 :]
        iou = _iou(coords[order[picked]], coords[rest], offset)
        if method == 2:
            left[rest] *= np.exp(-(iou * iou) / sigma)
        else:
            decay = 1 - iou if method == 1 else 0
            left[rest] *= np.where(iou >= iou_threshold, decay, 1).astype(left.dtype)
        picked += 1
        order = _drop_low(order, left[order] < min_score, picked)
    # A score below min_score from the start is still picked if no other box comes first.
    kept = torch.from_numpy(order)
    dets[: len(kept), :4] = boxes.detach()[kept].to(dets)
    dets[: len(kept), 4] = torch.from_numpy(left)[kept].to(dets)
    return kept


def _drop_low(order: np.ndarray, low: np.ndarray, start: int) -> np.ndarray:
    """Drop the low entries from `start` on and fill each hole from the end, as mmcv does.

    The order matters only for equal scores: the first one is picked.
    """
    low[:start] = False
    size = len(order) - int(low.sum())
    holes = np.flatnonzero(low[:size])
    fillers = size + np.flatnonzero(~low[size:])
    order[holes] = order[fillers[::-1]]
    return order[:size]


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes by NMS; dets (N, 5) xyxy and score.

    Returns:
        One list for each kept box: its index, then those it suppressed, by descending score.
    """
    coords = full_precision(dets.detach())[:, :4].numpy()
    order = dets[:, 4].sort(descending=True, stable=True).indices.numpy()
    groups = []
    while len(order):
        kept, order = order[0], order[1:]
        matched = _iou(coords[kept], coords[order], 0) >= iou_threshold
        groups.append([int(kept), *order[matched].tolist()])
        order = order[~matched]
    return groups
