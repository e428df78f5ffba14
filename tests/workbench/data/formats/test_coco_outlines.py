"""COCO files whose outlines contradict their boxes, or that have outlines alone."""

import json

import numpy as np
import pytest
from helpers.check import texts
from helpers.convert import CLASSES, write_coco_splits

from mbv2_backbone.det import CheckedCocoDataset
from mbv2_backbone.workbench.checks.box_counts import contradictions
from mbv2_backbone.workbench.checks.image_files import samples_of
from mbv2_backbone.workbench.data.check.check import check_folder
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.find import find_dataset

BOX = [4, 5, 10, 20]
OUTLINE = [4, 5, 14, 5, 14, 25, 4, 25]
COUNTS = [125, *[20, 10] * 9, 20, 785]
WRONG = {
    'run lengths as a polygon': [COUNTS],
    'another size': dict(size=[60, 80], counts=[4800]),
    'cut short': dict(size=[30, 40], counts=COUNTS[:6]),
    'relative': [[value / 40 for value in OUTLINE]],
    'of an image half as large': [[value / 2 for value in OUTLINE]],
}


def write(root, objects):
    objects = [dict(bbox=BOX) | item for item in objects]
    images = {'a.jpg': (40, 30, objects), 'b.jpg': (40, 30, [dict(bbox=[1, 2, 30, 20])])}
    return write_coco_splits(root, dict(train=images, val={'c.jpg': images['b.jpg']}))


def dataset_of(root):
    return CheckedCocoDataset(
        data_root=str(root),
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=CLASSES),
        pipeline=[],
    )


@pytest.mark.parametrize('kind', WRONG)
def test_contradictions_are_told_and_boxes_kept(kind, tmp_path):
    root = write(tmp_path / 'in', [dict(segmentation=WRONG[kind]), dict(segmentation=[OUTLINE])])
    report = check_folder(root, task='det')
    assert not report.stops_training
    found = texts(report, 'warning')
    assert 'train: 1 objects have an outline that contradicts their box' in found
    assert f'instances_train.json: box {BOX} has ' in found
    ((file, box, why),) = contradictions(samples_of(dataset_of(root)))
    assert (file, box) == ('a.jpg', [4, 5, 14, 25])
    assert why in found
    for to in ('yolo', 'labelme', 'coco'):
        done = convert(root, tmp_path / to, to=to)
        (problem,) = done.problems
        assert f'a.jpg: box {BOX} has ' in problem
        assert problem.endswith('the outline is dropped')
        record = find_dataset(tmp_path / to, keep_splits=True).splits['train'][0].record
        np.testing.assert_allclose(record.boxes, [(4, 5, 14, 25)] * 2, atol=1e-5)


def test_outlines_alone_give_boxes(tmp_path):
    runs = dict(size=[30, 40], counts=COUNTS)
    items = [
        dict(segmentation=[OUTLINE]),
        dict(segmentation=runs, bbox=[]),
        dict(keypoints=[5] * 6),
    ]
    root = write(tmp_path / 'in', items)
    path = root / 'annotations/instances_train.json'
    data = json.loads(path.read_text())
    for item in data['annotations'][:3]:
        item.pop('bbox')
    path.write_text(json.dumps(data))
    record = find_dataset(root).splits['train'][0].record
    assert record.boxes == ((4, 5, 14, 25),) * 2
    assert record.dropped == ((None, 'only key points'),)
    dataset = dataset_of(root)
    instances = dataset.get_data_info(0)['instances']
    assert [item['bbox'] for item in instances] == [[4, 5, 14, 25]] * 2
    assert dataset.dropped_boxes == [('a.jpg', None, 'only key points')]
    assert '1 boxes are dropped: 1 only key points' in texts(check_folder(root), 'warning')
    done = convert(root, tmp_path / 'out', to='coco')
    assert done.counts['train'] == (2, 0, 0, 3)


def test_key_points_alone_prevent_training_and_are_told_in_one_line(tmp_path):
    root = write_coco_splits(
        tmp_path, dict(train={'a.jpg': (40, 30, [dict(keypoints=[5, 6, 2])])}, val={})
    )
    assert dataset_of(root).dropped_boxes == [('a.jpg', None, 'only key points')]
    report = check_folder(root, task='det')
    assert 'train: 1 images, 0 boxes' in texts(report, 'error')
    assert 'train: 1 boxes are dropped: 1 only key points' in texts(report, 'warning')
