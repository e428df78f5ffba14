#!/usr/bin/env bash
# Guess: what goes into a label field of BboxParams comes out beside its box unchanged.
# Truth (albumentations 2.0.8): numbers travel as float32 columns of the boxes. Whole numbers come back as floats,
#   and ids above 2**24 as others; only strings are kept.
# Hurts: pipelines that carry COCO annotation ids through a crop to find mask, area or crowd flag again. Ids of
#   crowds in COCO have 12 digits: they come back as ids that do not exist, or as each other's.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q albumentations==2.0.8 opencv-python-headless==4.12.0.88 numpy==2.2.6
venv/bin/python - <<'PY'
import albumentations
import numpy as np

ids = [16777217, 900100259990, 900100259991]
flip = albumentations.Compose([albumentations.HorizontalFlip(p=1)],
                              bbox_params=albumentations.BboxParams('coco', label_fields=['ids', 'names']))
out = flip(image=np.zeros((50, 50, 3), np.uint8), bboxes=[[0, 0, 10, 10]] * 3, ids=ids, names=[str(i) for i in ids])
print('in', ids, 'out', out['ids'], out['names'])
# Seen: [16777216.0, 900100259840.0, 900100259840.0]; as strings they are kept
assert [float(i) for i in out['ids']] == [float(np.float32(i)) for i in ids], 'behaviour changed'
assert out['ids'][1] == out['ids'][2] and list(out['names']) == [str(i) for i in ids], 'behaviour changed'
PY
