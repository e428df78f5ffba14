#!/usr/bin/env bash
# Guess: torchmetrics' MeanAveragePrecision, which calls pycocotools, gives the figures that pycocotools gives.
# Truth (torchmetrics 1.9.0, pycocotools 2.0.11): it hands over IoU and recall thresholds of its own, rounded to
#   float32: 0.55 is 0.550000012, 0.7 is 0.699999988. An overlap of exactly 0.55, 0.6, 0.8 or 0.85 is no match any
#   more, and a recall that ends at 0.6 or 0.8 loses a point of the curve, one that ends at 0.7 gains one.
# Hurts: comparing figures of a toolbox on torchmetrics with those of one on pycocotools for the same detections: AP
#   differs in both directions; on small sets (boxes on whole pixels, classes of few objects) by whole points.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q torchmetrics==1.9.0 torch==2.15.0 torchvision==0.29.2 pycocotools==2.0.11 numpy==2.2.6
venv/bin/python - <<'PY'
import contextlib
import io
import json

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision


def both(found, objects):
    """AP of boxes x, y, width, height, all of score 0.9, by pycocotools and by torchmetrics."""
    images, categories = [{'id': 1, 'width': 200, 'height': 200}], [{'id': 1, 'name': 'cat'}]
    truth = [{'id': n, 'image_id': 1, 'category_id': 1, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0}
             for n, box in enumerate(objects, 1)]
    json.dump({'images': images, 'categories': categories, 'annotations': truth}, open('truth.json', 'w'))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO('truth.json')
        results = [{'image_id': 1, 'category_id': 1, 'bbox': box, 'score': 0.9} for box in found]
        evaluation = COCOeval(coco, coco.loadRes(results), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metric = MeanAveragePrecision(box_format='xywh', backend='pycocotools')
    metric.update(
        [{'boxes': torch.tensor(found).float(), 'scores': torch.full((len(found),), 0.9),
          'labels': torch.ones(len(found), dtype=torch.int)}],
        [{'boxes': torch.tensor(objects).float(), 'labels': torch.ones(len(objects), dtype=torch.int)}])
    return round(float(evaluation.stats[0]), 3), round(metric.compute()['map'].item(), 3)


overlaps = {width: both([[0, 0, width, 10]], [[0, 0, 100, 10]]) for width in (55, 60, 65, 80, 85)}
boxes = [[20 * n, 0, 10, 10] for n in range(10)]
recalls = {number: both(boxes[:number], boxes) for number in (5, 6, 7, 8)}
print('AP of pycocotools and torchmetrics: of one box with an IoU of n/100', overlaps)
print('of n exact boxes for ten objects', recalls)
# Seen: 55: 0.2, 0.1; 60: 0.3, 0.2; 65: 0.4, 0.4; 80: 0.7, 0.6; 85: 0.8, 0.7
#   5: 0.505, 0.505; 6: 0.604, 0.594; 7: 0.693, 0.703; 8: 0.802, 0.792
assert overlaps == {55: (0.2, 0.1), 60: (0.3, 0.2), 65: (0.4, 0.4), 80: (0.7, 0.6), 85: (0.8, 0.7)}, overlaps
assert recalls == {5: (0.505, 0.505), 6: (0.604, 0.594), 7: (0.693, 0.703), 8: (0.802, 0.792)}, recalls
PY
