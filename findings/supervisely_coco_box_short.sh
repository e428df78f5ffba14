#!/usr/bin/env bash
# Guess: a rectangle that covers columns 0 to 9 comes out of an exporter to COCO as ten pixels wide.
# Truth (supervisely 6.74.51): its rectangles name their first and last pixel, both inside; the export to COCO writes
#   the difference of the two as width and height: nine. `Rectangle.width` itself says ten.
# Hurts: sets labelled in Supervisely and trained as COCO: every box is a pixel short on two sides, which an object of
#   ten pixels pays with a fifth of its area.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q supervisely==6.74.51 setuptools
venv/bin/python - <<'PY' 2>&1 | grep -E '^(bbox|rectangle)|Error|changed'
import glob
import json

import numpy as np
import supervisely as sly

project = sly.Project('project', sly.OpenMode.CREATE)
ball = sly.ObjClass('ball', sly.Rectangle)
project.set_meta(sly.ProjectMeta(obj_classes=[ball]))
rectangle = sly.Rectangle(top=0, left=0, bottom=9, right=9)
dataset = project.create_dataset('train')
dataset.add_item_np('a.png', np.zeros((50, 50, 3), np.uint8), ann=sly.Annotation((50, 50), [sly.Label(rectangle, ball)]))
sly.convert.to_coco(sly.Project('project', sly.OpenMode.READ), 'coco', copy_images=True)
path, = glob.glob('coco/**/*.json', recursive=True)
box = json.load(open(path))['annotations'][0]['bbox']
print('rectangle', rectangle.width, rectangle.height)
print('bbox', box)
# Seen: rectangle 10 10, bbox [0.0, 0.0, 9.0, 9.0]
assert (rectangle.width, rectangle.height) == (10, 10) and list(box)[2:] == [9, 9], 'behaviour changed'
PY
