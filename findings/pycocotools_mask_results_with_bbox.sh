#!/usr/bin/env bash
# Guess: a 'bbox' beside the 'segmentation' of a mask result is only extra: the mask AP does not change.
# Truth (pycocotools 2.0.11, faster-coco-eval 1.8.0): loadRes looks at the first result; where it has a 'bbox',
#   the area of every result is that of its box, not of its mask. A thin false alarm of 684 pixels in a box of
#   60 x 60 is then 'medium' and no longer counts against the AP of small objects.
# Hurts: whoever writes one JSON for boxes and masks: segm AP is right over all sizes, AP small/medium/large is not.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q pycocotools==2.0.11 faster-coco-eval==1.8.0 numpy==2.4.6
venv/bin/python - <<'PY'
import contextlib
import io

import numpy as np
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def corner(at):
    pixels = np.zeros((400, 400), np.uint8, order='F')
    pixels[at:at + 60, at:at + 6] = pixels[at + 54:at + 60, at:at + 60] = 1
    rle = mask.encode(pixels)
    return {**rle, 'counts': rle['counts'].decode()}


truth = {'images': [{'id': 1, 'width': 400, 'height': 400}], 'categories': [{'id': 1, 'name': 'thing'}],
         'annotations': [{'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [10, 10, 60, 60], 'area': 684,
                          'iscrowd': 0, 'segmentation': corner(10)}]}
seen = {}
for name, dataset, evaluation in (('pycocotools', COCO, COCOeval), ('faster', FasterCOCO, COCOeval_faster)):
    for with_box in (False, True):
        results = [{'image_id': 1, 'category_id': 1, 'score': score, 'segmentation': corner(at),
                    **({'bbox': [at, at, 60, 60]} if with_box else {})} for at, score in ((200, 0.9), (10, 0.8))]
        with contextlib.redirect_stdout(io.StringIO()):
            gt = dataset()
            gt.dataset = truth
            gt.createIndex()
            run = evaluation(gt, gt.loadRes(results), 'segm')
            run.evaluate(), run.accumulate(), run.summarize()
        seen[name, with_box] = [round(float(run.stats[i]), 3) for i in (0, 3)]
print('(package, with bbox): [AP, AP small]', seen)
# Seen: without a bbox [0.5, 0.5], with one [0.5, 1.0], in both packages
assert all(value == [0.5, 1.0 if key[1] else 0.5] for key, value in seen.items()), 'behaviour changed'
PY
