#!/usr/bin/env bash
# Guess: COCO read by pylabel and written again as COCO has the same objects; an image without objects stays empty.
# Truth (pylabel 0.1.55): for an image without objects the annotation written before it is written once more, with the
#   same id and the same image. The empty image itself stays empty.
# Hurts: sets with background images: such an image adds a double of an object elsewhere; in training it counts twice,
#   and in the evaluation the second can only be missed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q pylabel==0.1.55 numpy==1.24.2
venv/bin/python - <<'PY'
import json

from pylabel import importer

boxes = {1: [10, 10, 20, 20], 2: [50, 50, 40, 40]}  # of the images 1 and 2; image 3 has no object
objects = [{'id': i, 'image_id': i, 'category_id': 1, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0}
           for i, box in boxes.items()]
with open('before.json', 'w') as file:
    json.dump({'images': [{'id': i, 'width': 200, 'height': 100, 'file_name': f'{i}.jpg'} for i in (1, 2, 3)],
               'categories': [{'id': 1, 'name': 'cat', 'supercategory': ''}], 'annotations': objects}, file)
importer.ImportCoco('before.json', path_to_images='.').export.ExportToCoco('after.json', cat_id_index=1)


def read(name):
    with open(name) as file:
        return [(row['id'], row['image_id'], row['bbox']) for row in json.load(file)['annotations']]

before, after = read('before.json'), read('after.json')
print('before', before, 'after', after)
# Seen: two before, three after; the last one twice with id 1
assert len(before) == 2 and len(after) == 3 and after[1] == after[2], 'behaviour changed'
PY
