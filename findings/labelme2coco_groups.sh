#!/usr/bin/env bash
# Guess: two polygons of a labelme file with the same label and the same group_id are one object in two parts, as in
#   labelme's own instance exports, so labelme2coco writes one annotation with two polygons.
# Truth (labelme2coco 0.2.6): group_id is not read. Each polygon is an object with a box of its own.
# Hurts: objects cut in two by something in front of them: the detector is taught halves, and the evaluation counts two
#   objects where there is one.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q labelme2coco==0.2.6 sahi==0.12.8 opencv-python==4.12.0.88 numpy==2.2.6
mkdir in
venv/bin/python - <<'PY'
import json
from pathlib import Path

from labelme2coco import get_coco_from_labelme_folder
from PIL import Image

Image.new('RGB', (100, 80)).save('in/a.png')
parts = [[[10, 10], [20, 10], [20, 20], [10, 20]], [[40, 10], [50, 10], [50, 20], [40, 20]]]
shapes = [{'label': 'bus', 'points': points, 'group_id': 7, 'shape_type': 'polygon', 'flags': {}} for points in parts]
Path('in/a.json').write_text(json.dumps({'version': '5.0.1', 'flags': {}, 'shapes': shapes, 'imagePath': 'a.png',
                                         'imageData': None, 'imageHeight': 80, 'imageWidth': 100}))
boxes = [annotation['bbox'] for annotation in get_coco_from_labelme_folder('in').json['annotations']]
print('one group of two polygons, boxes:', boxes)
# Seen: [[10.0, 10.0, 10.0, 10.0], [40.0, 10.0, 10.0, 10.0]]; the object's box is [10, 10, 40, 10]
assert boxes == [[10, 10, 10, 10], [40, 10, 10, 10]], 'behaviour changed'
PY
