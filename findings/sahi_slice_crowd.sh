#!/usr/bin/env bash
# Guess: sahi's slice_coco cuts images and annotations into tiles and keeps what an annotation is.
# Truth (sahi 0.12.8): crowd regions come out with iscrowd 0, one ordinary object for each tile they touch, and
#   objects with a box alone get a rectangle as their mask, cut at whole pixels (10 of 10.5).
# Hurts: training on tiles of COCO: 'many people here' becomes a tile-sized person; and evaluation on tiles, where
#   these count as missed and every true detection inside them as false.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q sahi==0.12.8 opencv-python==4.12.0.88 numpy==2.2.6
venv/bin/python - <<'PY'
import json

from PIL import Image
from sahi.slicing import slice_coco

Image.new('RGB', (100, 50)).save('a.png')
common = {'image_id': 1, 'category_id': 1}
data = {'images': [{'id': 1, 'file_name': 'a.png', 'width': 100, 'height': 50}],
        'categories': [{'id': 1, 'name': 'person'}],
        'annotations': [{**common, 'id': 1, 'bbox': [5, 5, 90, 40], 'area': 3600, 'iscrowd': 1},
                        {**common, 'id': 2, 'bbox': [60, 5, 10.5, 20], 'area': 210, 'iscrowd': 0}]}
json.dump(data, open('coco.json', 'w'))
sliced, _ = slice_coco('coco.json', '.', output_coco_annotation_file_name='tiles', output_dir='tiles',
                       slice_height=50, slice_width=50, overlap_height_ratio=0, overlap_width_ratio=0)
for annotation in sliced['annotations']:
    print(annotation['iscrowd'], annotation['bbox'], annotation['segmentation'])
# Seen: three annotations, all iscrowd 0: two pieces of the crowd of 45 x 40, one box of 10.5 with a mask of 10
assert [a['iscrowd'] for a in sliced['annotations']] == [0, 0, 0], 'behaviour changed'
single = min(sliced['annotations'], key=lambda a: a['area'])
assert single['bbox'][2] == 10.5 and max(single['segmentation'][0][::2]) == 20, 'behaviour changed'
PY
