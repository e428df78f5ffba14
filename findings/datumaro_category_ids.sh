#!/usr/bin/env bash
# Guess: reading COCO with datumaro and writing COCO again keeps the ids; reindex=False is the default.
# Truth (datumaro 1.13.12): image and annotation ids are kept, category ids are numbered anew 1, 2, 3... in the order
#   of the old ids. 'dog' was 18 and is now 3, 'car' was 3 and is now 2.
# Hurts: filtering or splitting COCO with datumaro: results of a detector that speaks the 91 ids of COCO still match
#   images and still load, but 3 now means another class; AP falls without an error.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q datumaro==1.13.12 numpy==2.2.6
venv/bin/python - <<'PY'
import json
import os

import datumaro
from PIL import Image

os.makedirs('in/images/train')
os.makedirs('in/annotations')
Image.new('RGB', (60, 60)).save('in/images/train/a.png')
names = {1: 'person', 3: 'car', 18: 'dog'}
data = {'images': [{'id': 41, 'file_name': 'a.png', 'width': 60, 'height': 60}],
        'categories': [{'id': key, 'name': name} for key, name in names.items()],
        'annotations': [{'id': 700 + key, 'image_id': 41, 'category_id': key, 'bbox': [key, 1, 20, 20], 'area': 400,
                         'iscrowd': 0} for key in names]}
json.dump(data, open('in/annotations/instances_train.json', 'w'))
datumaro.Dataset.import_from('in', 'coco').export('out', 'coco_instances')
out = json.load(open('out/annotations/instances_train.json'))
kept = [image['id'] for image in out['images']], sorted(a['id'] for a in out['annotations'])
categories = {c['id']: c['name'] for c in out['categories']}
print('images and annotations', kept, 'categories', categories)
# Seen: ([41], [701, 703, 718]) categories {1: 'person', 2: 'car', 3: 'dog'}
assert kept == ([41], [701, 703, 718]), 'behaviour changed'
assert categories == {1: 'person', 2: 'car', 3: 'dog'}, 'behaviour changed'
PY
