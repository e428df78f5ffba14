#!/usr/bin/env bash
# Guess: what Datumaro writes as Pascal VOC counts pixels as VOC does, the first one being 1, and reads back the same.
# Truth (datumaro 1.13.12): it writes its own corners unchanged, counted from 0 and with fractions; a whole image of
#   200x100 is 0, 0, 200, 100. Reading does the same the other way, so true VOC files arrive a pixel too far right and
#   down, and the upper left pixel of a whole-image box is missing.
# Hurts: whoever trains with a VOC reader that subtracts 1, as most detection toolboxes do, on what Datumaro (or a tool
#   built on it) exported, and whoever converts true VOC with it: small boxes lose overlap, without a warning.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q datumaro==1.13.12 numpy==2.2.6
venv/bin/python - <<'PY' 2>&1 | grep -v -i warning
import glob
import re

import numpy as np
from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

whole = Bbox(0, 0, 200, 100, label=0)
image = Image.from_numpy(np.zeros((100, 200, 3), np.uint8))
item = DatasetItem('a', subset='train', media=image, annotations=[whole])
Dataset.from_iterable([item], categories=['ball']).export('voc', 'voc_detection', save_media=True)
path, = glob.glob('voc/Annotations/**/*.xml', recursive=True)
text = open(path).read()
corners = [float(re.search(f'<{k}>(.*?)</{k}>', text)[1]) for k in ('xmin', 'ymin', 'xmax', 'ymax')]
print('written', corners)
# VOC's devkit writes the same box as 1, 1, 200, 100.
for key, value in (('xmin', 1), ('ymin', 1)):
    text = re.sub(f'<{key}>.*?</{key}>', f'<{key}>{value}</{key}>', text)
open(path, 'w').write(text)
box = next(iter(Dataset.import_from('voc', 'voc_detection'))).annotations[0]
print('the true file, read', box.get_bbox())
# Seen: written [0.0, 0.0, 200.0, 100.0]; read [1.0, 1.0, 199.0, 99.0]
assert corners == [0, 0, 200, 100] and list(box.get_bbox()) == [1, 1, 199, 99], 'behaviour changed'
PY
