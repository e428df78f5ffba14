"""Postprocess raw scores and boxes into detections in numpy, exactly as the head does in torch."""

from __future__ import annotations

import numpy as np

from ..annotations.overlaps import shared_and_union
from .metadata import Detection

Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]


def select_boxes(
    scores: np.ndarray, boxes: np.ndarray, rules: Detection, input_size: tuple[int, int]
) -> Boxes:
    """Choose the detections of one image.

    Args:
        scores: `(P, C)` in [0, 1].
        boxes: `(P, 4)` xyxy in pixels of the input.
        rules: Thresholds and limits.
        input_size: `(height, width)` that boxes are clipped to, with `rules.clip_after_nms`.

    Returns:
        Boxes `(D, 4)` float32, scores `(D,)` float32 and labels `(D,)` int64, by descending score.
    """
    prior, label = np.nonzero(scores > rules.score_thr)
    score = scores[prior, label]
    order = np.argsort(-score, kind='stable')
    if rules.nms_pre > 0:
        order = order[_rank_in_level(prior[order], rules.level_sizes) < rules.nms_pre]
    prior, label, score = prior[order], label[order], score[order]
    box = boxes[prior]
    if rules.min_bbox_size >= 0:
        is_large = (box[:, 2:] - box[:, :2] > rules.min_bbox_size).all(1)
        box, label, score = box[is_large], label[is_large], score[is_large]
    kept = np.zeros(len(box), bool)
    for value in np.unique(label):
        index = np.flatnonzero(label == value)
        kept[index[nms(box[index], rules.iou_thr)]] = True
    box, label, score = box[kept], label[kept], score[kept]
    if rules.clip_after_nms:
        box = box.clip(0, np.tile(input_size[::-1], 2))
        has_area = (box[:, 2:] > box[:, :2]).all(1)
        box, label, score = box[has_area], label[has_area], score[has_area]
    limit = rules.max_per_img if rules.max_per_img > 0 else None
    return box[:limit].astype(np.float32), score[:limit].astype(np.float32), label[:limit]


def _rank_in_level(prior: np.ndarray, level_sizes: tuple[int, ...]) -> np.ndarray:
    """Return for each candidate how many before it are on the same level."""
    level = np.searchsorted(np.cumsum(level_sizes), prior, side='right')
    rank = np.empty_like(level)
    for value in np.unique(level):
        index = np.flatnonzero(level == value)
        rank[index] = np.arange(len(index))
    return rank


def nms(boxes: np.ndarray, iou_thr: float) -> np.ndarray:
    """Greedy NMS: `boxes` `(D, 4)` xyxy, best first. Returns the indices that are kept."""
    boxes = boxes.astype(np.float32)
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        rest = i + 1 + np.flatnonzero(alive[i + 1 :])
        shared, union = shared_and_union(boxes[i : i + 1], boxes[rest])
        alive[rest[shared[0] > np.float32(iou_thr) * union[0]]] = False
    return np.flatnonzero(alive)
