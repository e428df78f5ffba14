#!/usr/bin/env bash
# Guess: a COCO file that globox writes scores the same in globox and in pycocotools.
# Truth (globox 2.9.0, pycocotools 2.0.11): globox numbers annotations from 0, and pycocotools takes a match with
#   id 0 for no match. Two perfect detections of two objects: globox AP 1.0, pycocotools AP 0.252.
# Hurts: whoever converts VOC, YOLO or CVAT to COCO with globox and trains with any tool that evaluates with
#   pycocotools; in a big data set the loss is too small to see.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q globox==2.9.0 pycocotools==2.0.11 numpy==2.4.6
venv/bin/python - <<'PY'
import contextlib
import io
import json

from globox import Annotation, AnnotationSet, BoundingBox, COCOEvaluator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def boxes(confidence):
    corners = [BoundingBox(label='car', xmin=x, ymin=x, xmax=x + 20, ymax=x + 20, confidence=confidence)
               for x in (0, 40)]
    return AnnotationSet([Annotation(image_id='a.png', image_size=(100, 100), boxes=corners)])


own = COCOEvaluator(ground_truths=boxes(None), predictions=boxes(0.9)).ap()
boxes(None).save_coco('truth.json', auto_ids=True)
written = json.load(open('truth.json'))['annotations']
found = [{key: a[key] for key in ('image_id', 'category_id', 'bbox')} | {'score': 0.9} for a in written]
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO('truth.json')
    run = COCOeval(truth, truth.loadRes(found), 'bbox')
    run.evaluate(), run.accumulate(), run.summarize()
print('ids', [a['id'] for a in written], 'globox AP', own, 'pycocotools AP', round(float(run.stats[0]), 3))
# Seen: ids [0, 1] globox AP 1.0 pycocotools AP 0.252
assert [a['id'] for a in written] == [0, 1] and own == 1.0 and run.stats[0] < 0.3, 'behaviour changed'
PY
