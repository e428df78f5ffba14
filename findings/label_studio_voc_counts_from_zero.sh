#!/usr/bin/env bash
# Guess: Label Studio's "Pascal VOC" counts pixels as VOC does, from 1, and holds the box that its COCO export holds.
# Truth (label-studio-sdk 2.1.2): VOC gets corners counted from 0 and cut to whole numbers, where COCO keeps fractions:
#   a box of 0, 0, 101.5, 50 becomes 0, 0, 101, 50.
# Hurts: whoever reads that VOC with a reader that subtracts 1, as most detection toolboxes do: corners of -1, and every
#   box a pixel too far left and up; on small objects the cut fractions come on top.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q label-studio-sdk==2.1.2
venv/bin/python - <<'PY'
import glob
import json
import re

from label_studio_sdk.converter import Converter

config = ('<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
          '<Label value="ball"/></RectangleLabels></View>')
value = dict(x=0, y=0, width=50.75, height=50, rotation=0, rectanglelabels=['ball'])
result = dict(id='r', type='rectanglelabels', from_name='label', to_name='image', original_width=200,
              original_height=100, image_rotation=0, value=value)
address = 'http://localhost:8080/data/a.jpg'
task = dict(id=1, data=dict(image=address), annotations=[dict(id=1, completed_by=1, result=[result], was_cancelled=False)])
json.dump([task], open('tasks.json', 'w'))
converter = Converter(config, project_dir='.', download_resources=False)
converter.convert_to_coco('tasks.json', 'coco', is_dir=False)
converter.convert_to_voc('tasks.json', 'voc', is_dir=False)
coco = json.load(open(glob.glob('coco/*.json')[0]))
text = open(glob.glob('voc/**/*.xml', recursive=True)[0]).read()
corners = [re.search(f'<{k}>(.*?)</{k}>', text)[1] for k in ('xmin', 'ymin', 'xmax', 'ymax')]
print('COCO', coco['annotations'][0]['bbox'])
print('VOC ', corners)
# Seen: COCO [0.0, 0.0, 101.5, 50.0], VOC ['0', '0', '101', '50']
assert coco['annotations'][0]['bbox'] == [0, 0, 101.5, 50], 'behaviour changed'
assert corners == ['0', '0', '101', '50'], 'behaviour changed'
PY
