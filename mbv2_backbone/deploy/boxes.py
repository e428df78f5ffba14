"""From raw scores and boxes to detections in numpy, as the head does it in torch."""

from __future__ import annotations

import numpy as np

from .metadata import Detection

Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]


def select_boxes(scores: np.ndarray, boxes: np.ndarray, rules: Detection) -> Boxes:
    """Choose the detections of one image.

    Args:
        scores: `(P, C)` in [0, 1].
        boxes: `(P, 4)` xyxy in pixels of the input, clipped to it.
        rules: Thresholds and limits.

    Returns:
        Boxes `(D, 4)` float32, scores `(D,)` float32 and labels `(D,)` int64, by falling score.
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
    limit = rules.max_per_img if rules.max_per_img > 0 else None
    return (
        box[kept][:limit].astype(np.float32),
        score[kept][:limit].astype(np.float32),
        label[kept][:limit],
    )


def _rank_in_level(prior: np.ndarray, level_sizes: tuple[int, ...]) -> np.ndarray:
    """Return of each candidate how many before it are of its level."""
    level = np.searchsorted(np.cumsum(level_sizes), prior, side='right')
    rank = np.empty_like(level)
    for value in np.unique(level):
        index = np.flatnonzero(level == value)
        rank[index] = np.arange(len(index))
    return rank


def nms(boxes: np.ndarray, iou_thr: float) -> np.ndarray:
    """Suppress greedily: `boxes` `(D, 4)` xyxy, best first. Returns the indices that stay."""
    x1, y1, x2, y2 = boxes.astype(np.float32).T
    areas = (x2 - x1) * (y2 - y1)
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        rest = i + 1 + np.flatnonzero(alive[i + 1 :])
        width = np.minimum(x2[i], x2[rest]) - np.maximum(x1[i], x1[rest])
        height = np.minimum(y2[i], y2[rest]) - np.maximum(y1[i], y1[rest])
        shared = width.clip(min=0) * height.clip(min=0)
        union = areas[i] + areas[rest] - shared
        alive[rest[shared > np.float32(iou_thr) * union]] = False
    return np.flatnonzero(alive)
