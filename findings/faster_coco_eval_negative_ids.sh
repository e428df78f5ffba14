#!/usr/bin/env bash
# Guess: pycocotools and its faster rewrite give the same figures on the same files; annotation ids are only names.
# Truth (faster-coco-eval 1.8.0, pycocotools 2.0.11): with ids that are negative, pycocotools counts the objects as
#   found and faster-coco-eval as missed, so AP falls from 1.0 to 0.0. Both take an id of 0 for "no match".
# Hurts: sets whose ids are hashes cut to 64 bits, or "new" objects that a labelling tool numbers -1, -2, …: the figure
#   depends on which of the two evaluators is installed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q faster-coco-eval==1.8.0 pycocotools==2.0.11 numpy==2.2.6 setuptools
venv/bin/python - <<'PY'
import contextlib
import io
import json


def average_precision(kinds, ids):
    coco_class, eval_class = kinds
    boxes = [[10, 10, 30, 30], [60, 60, 30, 30]]
    truth = dict(
        info={}, categories=[dict(id=1, name='a')], images=[dict(id=1, width=100, height=100, file_name='a')],
        annotations=[dict(id=i, image_id=1, category_id=1, bbox=b, area=900, iscrowd=0) for i, b in zip(ids, boxes)],
    )
    json.dump(truth, open('truth.json', 'w'))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_class('truth.json')
        found = coco.loadRes([dict(image_id=1, category_id=1, bbox=b, score=0.9) for b in boxes])
        evaluator = eval_class(coco, found, 'bbox')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return round(float(evaluator.stats[0]), 3)


import faster_coco_eval
import pycocotools.coco
import pycocotools.cocoeval

evaluators = {
    'pycocotools': (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    'faster-coco-eval': (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
}
seen = {f'{name} {ids}': average_precision(kinds, ids) for name, kinds in evaluators.items() for ids in ([1, 2], [-1, -2], [0, 1])}
for name, value in seen.items():
    print(name, value)
assert seen['pycocotools [1, 2]'] == seen['faster-coco-eval [1, 2]'] == 1.0, 'behaviour changed'
assert seen['pycocotools [-1, -2]'] == 1.0 and seen['faster-coco-eval [-1, -2]'] == 0.0, 'behaviour changed'
assert seen['pycocotools [0, 1]'] < 1.0 and seen['faster-coco-eval [0, 1]'] < 1.0, 'behaviour changed'
PY
