"""NMS as ncnn layers: from raw scores and boxes to final detections.

All of it is done by ncnn's `DetectionOutput`, which sorts, suppresses and keeps the best. It also
decodes boxes; with variances of 0 the priors are the result, so it gets our decoded boxes as those.
Handed the network's offsets, it would suppress boxes that are not clipped yet: another model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...common.messages import UserError
from ...deploy.metadata import Detection
from .ncnn_layers import Builder

_ALL = 2**31 - 1
_NO_NMS = 2.0  # no IoU is above it
_STEEP = 1e4  # twice, it turns any positive number of pixels into 1; float16 holds it
_MARGIN = 0.5  # pixels; exact next to the borders of an image, where boxes without area come from


def check_rules(rules: Detection) -> None:
    """Refuse what `DetectionOutput` cannot do.

    Raises:
        UserError: If boxes without area shall be kept: their IoU is 0 / 0, which suppresses them.
    """
    if rules.min_bbox_size < 0 and not rules.clip_after_nms:
        raise UserError(
            'the NMS of ncnn drops boxes without area, which test_cfg.min_bbox_size='
            f'{rules.min_bbox_size:g} keeps: add --cfg-options model.test_cfg.min_bbox_size=0, '
            f'or --raw'
        )


@dataclass(frozen=True)
class _Candidates:
    """Blobs with n boxes.

    Attributes:
        boxes: `(n, 4)` xyxy in pixels.
        scores: `(1 + C, n)`; the first row, ncnn's background, is 0.
        guard: `(1, n)`, scores of a further class with at least one box above all others: an
            empty list of boxes would leave the layers after it without a shape.
    """

    boxes: str
    scores: str
    guard: str


def suppression_layers(rules: Detection, input_size: tuple[int, int]) -> Builder:
    """Return the layers from the blobs `scores` and `boxes` to `detections`.

    They do what the head's `predict_by_feat` does: keep the best pairs of each level, drop boxes
    that are too small, apply NMS per class, keep the best boxes. With P priors and C classes:

    scores (P, C), boxes (P, 4) -> detections (D, 6), which are label + 1, score and xyxy.

    `detections` is empty if nothing is found.
    """
    build = Builder('final')
    num_classes, sizes = len(rules.classes), rules.level_sizes
    score_thr = max(rules.score_thr, 0)
    by_class = build.transpose('scores')
    if 0 < rules.nms_pre < max(sizes) * num_classes:
        # Boxes without area suppress each other even here, so all get some.
        grown = build.binary('add', 'boxes', build.constant(_MARGIN * np.array([[0, 0, 1, 1]])))
        levels = zip(
            build.split(grown, sizes, axis=0), build.split(by_class, sizes, axis=1), sizes,
            strict=True,
        )  # fmt: skip
        rows = [
            _select(build, _candidates(build, *level), score_thr, _NO_NMS, rules.nms_pre)
            for level in levels
        ]
        found = _from_rows(build, build.join(*rows, axis=0), num_classes, _MARGIN)
    else:
        found = _candidates(build, 'boxes', by_class, sum(sizes))
    if rules.min_bbox_size >= 0:
        found = _without_small(build, found, rules.min_bbox_size)
    iou_thr = rules.iou_thr
    if rules.clip_after_nms:
        rows = _select(build, found, score_thr, iou_thr, _ALL - 1)
        found = _clipped(build, _from_rows(build, rows, num_classes, 0), input_size)
        found, iou_thr = _without_small(build, found, 0), _NO_NMS
    limit = rules.max_per_img if rules.max_per_img > 0 else _ALL
    _detection_output(build, found.boxes, found.scores, score_thr, iou_thr, limit)
    build.layers[-1] = build.layers[-1].renamed({build.layers[-1].name: 'detections'})
    return build


def _candidates(build: Builder, boxes: str, by_class: str, num: int) -> _Candidates:
    """Take raw outputs: boxes `(num, 4)` and scores `(C, num)`."""
    scores = build.join(build.constant(np.zeros((1, num))), by_class, axis=0)
    return _Candidates(boxes, scores, build.constant(2 * np.eye(1, num)))


def _select(
    build: Builder, found: _Candidates, score_thr: float, iou_thr: float, limit: int
) -> str:
    """Return the rows of the best `limit` pairs of box and class, and at least one guard."""
    scores = build.join(found.scores, found.guard, axis=0)
    return _detection_output(build, found.boxes, scores, score_thr, iou_thr, limit + 1)


def _detection_output(
    build: Builder, boxes: str, scores: str, score_thr: float, iou_thr: float, limit: int
) -> str:
    variances = dict.fromkeys(('p5', 'p6', 'p7', 'p8'), '0.0')
    return build.add(
        'DetectionOutput', boxes, scores, boxes,
        p0=-233, p1=f'{iou_thr:.9e}', p2=_ALL, p3=limit, p4=f'{score_thr:.9e}', **variances,
    )  # fmt: skip


def _from_rows(build: Builder, rows: str, num_classes: int, margin: float) -> _Candidates:
    """Read the rows that `DetectionOutput` writes, of boxes that were grown by `margin` pixels."""
    label, score, boxes = build.split(rows, (1, 1, 4), axis=1)
    labels = build.constant(np.arange(num_classes + 2.0)[:, None])
    distance = build.magnitude(build.binary('sub', build.transpose(label), labels))
    is_label = build.clip(build.binary('rsub', distance, 1.0))
    scores = build.binary('mul', is_label, build.transpose(score))
    if margin:
        boxes = build.binary('sub', boxes, build.constant(margin * np.array([[0, 0, 1, 1]])))
    return _Candidates(boxes, *build.split(scores, (num_classes + 1, 1), axis=0))


def _without_small(build: Builder, found: _Candidates, least: float) -> _Candidates:
    """Set the scores of boxes to 0 whose width or height is not above `least` pixels."""
    upper_left, lower_right = build.split(found.boxes, (2, 2), axis=1)
    width, height = build.split(build.binary('sub', lower_right, upper_left), (1, 1), axis=1)
    excess = build.binary('sub', build.binary('min', width, height), least)
    for _ in range(2):
        excess = build.clip(build.binary('mul', excess, _STEEP))
    is_large = build.transpose(excess)
    return _Candidates(found.boxes, build.binary('mul', found.scores, is_large), found.guard)


def _clipped(build: Builder, found: _Candidates, input_size: tuple[int, int]) -> _Candidates:
    height, width = input_size
    limit = build.constant(np.array([[width, height, width, height]]))
    boxes = build.binary('min', build.binary('max', found.boxes, 0.0), limit)
    return _Candidates(boxes, found.scores, found.guard)
