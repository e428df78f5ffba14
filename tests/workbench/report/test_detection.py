"""Precision of boxes by class and size."""

import json

import numpy as np
import pytest
from helpers.metrics import draw_coco, evaluate_by

from mbv2_backbone.det.metrics import FastCocoMetric
from mbv2_backbone.workbench.report.box_matches import Boxes
from mbv2_backbone.workbench.report.detection import class_figures, precision_of_boxes


def test_precision_equals_that_of_the_metric(tmp_path):
    path, samples = draw_coco(tmp_path, seed=3, detections=90)
    metric = FastCocoMetric(ann_file=path, classwise=True)
    figures = evaluate_by(metric, samples)
    assert metric.precision.shape == (10, 101, 6, 4)
    content = json.loads((tmp_path / 'annotations.json').read_text())
    truths = {}
    for sample in samples:
        rows = [a for a in content['annotations'] if a['image_id'] == sample['img_id']]
        corners = np.array([a['bbox'] for a in rows], np.float64).reshape(-1, 4)
        truths[sample['img_id']] = Boxes(
            np.hstack([corners[:, :2], corners[:, :2] + corners[:, 2:]]),
            np.array([10 - a['category_id'] for a in rows], int),
            np.array([1 - a['iscrowd'] for a in rows]),
        )
    found = {
        sample['img_id']: Boxes(
            *(sample['pred_instances'][key].numpy() for key in ('bboxes', 'labels', 'scores'))
        )
        for sample in samples
    }
    own = precision_of_boxes(found, truths, 6)
    np.testing.assert_allclose(own[..., 0], metric.precision[..., 0], atol=1e-6)
    by_class = [class_figures(own[:, :, label], metric.iou_thrs) for label in range(6)]
    assert by_class[5]['ap'] is by_class[5]['ap_50'] is None  # no box has the last class
    mean = np.mean([row['ap_50'] for row in by_class[:5]])
    assert mean == pytest.approx(figures['coco/bbox_mAP_50'], abs=2e-3)


def test_precision_by_size_equals_the_summary(tmp_path):
    path, samples = draw_coco(tmp_path, seed=5, detections=90)
    metric = FastCocoMetric(ann_file=path)
    figures = evaluate_by(metric, samples)
    rows = [class_figures(metric.precision[:, :, label], metric.iou_thrs) for label in range(6)]
    for size in ('small', 'medium', 'large'):
        values = [row[f'ap_{size}'] for row in rows if row[f'ap_{size}'] is not None]
        assert np.mean(values) == pytest.approx(figures[f'coco/bbox_mAP_{size[0]}'], abs=2e-3)
