#!/usr/bin/env bash
# Guess: CocoMetric(classwise=True) prints each class's AP beside that class's name.
# Truth (onedl-mmdetection 3.5.1; the lines are those of mmdet 3.3.0): the names come in the order in which the file
#   lists its categories, the figures in the order of their ids, in which pycocotools sorts them. The mean is right.
# Hurts: files whose categories are listed by name, or where an id was filled in later: "dog 1.0, cat 0.0" when
#   every cat and no dog was found, so work goes into the wrong class; files sorted by id, as COCO's, are right.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q onedl-mmdetection==3.5.1 onedl-mmcv==2.3.6 onedl-mmengine==0.10.12 torch==2.15.0 \
    torchvision==0.29.2 pycocotools==2.0.11 numpy==2.2.6
venv/bin/python - <<'PY'
import json

import torch
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric

NAMES = {1: 'cat', 2: 'dog'}


def classwise(order):
    """AP by class name where every cat and no dog is found; order: the ids as the file lists its categories."""
    json.dump({
        'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 200, 'height': 200}],
        'categories': [{'id': key, 'name': NAMES[key]} for key in order],
        'annotations': [{'id': key, 'image_id': 1, 'category_id': key, 'bbox': [60 * key, 10, 50, 50], 'area': 2500,
                         'iscrowd': 0} for key in NAMES]}, open('truth.json', 'w'))
    classes = tuple(NAMES[key] for key in order)
    dataset = CocoDataset(
        ann_file='truth.json', data_prefix={'img': ''}, metainfo={'classes': classes}, pipeline=[])
    (cat,) = (i for i in dataset.get_data_info(0)['instances'] if classes[i['bbox_label']] == 'cat')
    metric = CocoMetric(ann_file='truth.json', metric='bbox', classwise=True)
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [{'img_id': 1, 'ori_shape': (200, 200), 'pred_instances': {
        'bboxes': torch.tensor([cat['bbox']]), 'scores': torch.tensor([0.9]),
        'labels': torch.tensor([cat['bbox_label']])}}])
    figures = metric.evaluate(1)
    return {name: float(figures[f'coco/{name}_precision']) for name in sorted(classes)}


seen = {'listed 1, 2': classwise([1, 2]), 'listed 2, 1': classwise([2, 1])}
print(seen)
# Seen: listed 1, 2: cat 1.0, dog 0.0; listed 2, 1: cat 0.0, dog 1.0
assert seen == {'listed 1, 2': {'cat': 1.0, 'dog': 0.0}, 'listed 2, 1': {'cat': 0.0, 'dog': 1.0}}, 'behaviour changed'
PY
