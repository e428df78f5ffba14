#!/usr/bin/env bash
# Guess: the label files and the dataset.yaml that one call of pylabel's YOLO export writes speak of the same classes:
#   class n of a label is names[n] of the yaml.
# Truth (pylabel 0.1.55): without cat_id_index the labels keep the category ids of COCO, which begin at 1, and
#   the yaml lists the names from 0. A cat is written as 1, and names[1] is dog; a dog as 2, and there is no names[2].
# Hurts: COCO turned into YOLO: every class is trained under the name of the next one, and the last class is out of
#   range of the names.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q pylabel==0.1.55 numpy==1.24.2
venv/bin/python - <<'PY'
import json
from pathlib import Path

import yaml
from pylabel import importer

names = {1: 'cat', 2: 'dog'}
with open('coco.json', 'w') as file:
    json.dump({'images': [{'id': i, 'width': 200, 'height': 100, 'file_name': f'{name}.jpg'} for i, name in names.items()],
               'categories': [{'id': i, 'name': name, 'supercategory': ''} for i, name in names.items()],
               'annotations': [{'id': i, 'image_id': i, 'category_id': i, 'bbox': [10, 10, 20, 20], 'area': 400,
                                'iscrowd': 0} for i in names]}, file)
importer.ImportCoco('coco.json', path_to_images='.').export.ExportToYoloV5('out/labels', yaml_file='dataset.yaml')
listed = yaml.safe_load(Path('out/dataset.yaml').read_text())['names']
seen = {name: int(Path(f'out/labels/{name}.txt').read_text().split()[0]) for name in names.values()}
print('yaml', listed, '- the label of each', seen)
# Seen: yaml ['cat', 'dog'], labels cat 1, dog 2
assert listed == ['cat', 'dog'] and seen == {'cat': 1, 'dog': 2}, 'behaviour changed'
PY
