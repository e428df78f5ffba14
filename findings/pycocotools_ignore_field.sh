#!/usr/bin/env bash
# Guess: pycocotools leaves an annotation with "ignore": 1 out of the score; the evaluator reads that field.
# Truth (pycocotools 2.0.11): it reads the field, then overwrites it with iscrowd. "ignore" has no effect.
# Hurts: files of Pascal VOC in COCO format that put 'difficult' into "ignore": hard objects count
#   as missed, so AP is lower than the VOC rules say.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q pycocotools==2.0.11 numpy==2.4.6
venv/bin/python - <<'PY'
import contextlib
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def ap(**flags):
    objects = [{'id': i, 'image_id': 1, 'category_id': 1, 'bbox': [40 * i, 0, 20, 20], 'area': 400, 'iscrowd': 0}
               for i in (1, 2)]
    objects[1].update(flags)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {'images': [{'id': 1, 'width': 200, 'height': 50}], 'annotations': objects,
                         'categories': [{'id': 1, 'name': 'cat'}]}
        truth.createIndex()
        found = [{'image_id': 1, 'category_id': 1, 'bbox': [40, 0, 20, 20], 'score': 0.9}]
        run = COCOeval(truth, truth.loadRes(found), 'bbox')
        run.evaluate(), run.accumulate(), run.summarize()
    return round(float(run.stats[0]), 3)


seen = {'one of two missed': ap(), 'missed one: ignore 1': ap(ignore=1), 'missed one: iscrowd 1': ap(iscrowd=1)}
print(seen)
# Seen: 0.505, 0.505, 1.0
assert list(seen.values()) == [0.505, 0.505, 1.0], 'behaviour changed'
PY
