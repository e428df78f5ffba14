"""COCO files: outlines in other shapes, images listed twice, two files of one split."""

import json

import pytest
from helpers.check import texts
from helpers.convert import write_coco_splits
from helpers.dataset import write_coco
from helpers.small import tool

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.det import CheckedCocoDataset
from mbv2_backbone.workbench.data.check.check import check_folder
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.find import find_dataset

TRIANGLE = [2, 3, 20, 3, 20, 15]
PAIRS = [[2, 3], [20, 3], [20, 15]]


@pytest.mark.parametrize(
    'stored',
    [[TRIANGLE], TRIANGLE, PAIRS, [PAIRS], [tuple(TRIANGLE)], [list(map(float, TRIANGLE))]],
)
def test_an_outline_in_any_nesting(stored, tmp_path):
    item = dict(bbox=[2, 3, 18, 12], segmentation=stored)
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [item])}})
    done = convert(source, tmp_path / 'out', to='coco')
    assert done.problems == []
    (written,) = json.loads((tmp_path / 'out/annotations/train.json').read_text())['annotations']
    assert written['segmentation'] == [TRIANGLE]
    assert written['area'] == 18 * 12 / 2


def test_two_parts_as_pairs(tmp_path):
    parts = [PAIRS, [[25, 5], [38, 5], [38, 25], [25, 25]]]
    item = dict(bbox=[2, 3, 36, 22], segmentation=parts)
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [item])}})
    convert(source, tmp_path / 'out', to='coco')
    (written,) = json.loads((tmp_path / 'out/annotations/train.json').read_text())['annotations']
    assert written['segmentation'] == [TRIANGLE, [25, 5, 38, 5, 38, 25, 25, 25]]


@pytest.mark.parametrize('stored', [[[1, 2, 3, 4]], [{'x': 1, 'y': 2}], 'x', [[1, 2], [3, 4]]])
def test_an_outline_that_cannot_be_read_is_named(stored, tmp_path):
    items = [dict(bbox=[2, 3, 18, 12], segmentation=s) for s in (stored, [], [[]], None)]
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, items)}})
    (problem,) = convert(source, tmp_path / 'out', to='coco').problems
    assert 'a.jpg: an outline cannot be read' in problem


def listed_twice(root, boxes):
    """Write a set whose first image has another entry, as of a second annotator."""
    write_coco(root)
    path = root / 'annotations/instances_train2017.json'
    data = json.loads(path.read_text())
    first = data['images'][0]
    data['images'].append(dict(first, id=77, file_name=f'./{first["file_name"]}'))
    own = [a for a in data['annotations'] if a['image_id'] == first['id']]
    boxes = [a['bbox'] for a in own] + boxes
    data['annotations'] += [
        dict(id=100 + i, image_id=77, category_id=own[0]['category_id'], bbox=box)
        for i, box in enumerate(boxes)
    ]
    data['annotations'][-1]['category_id'] = 8
    path.write_text(json.dumps(data))
    return path, len(own)


def test_an_image_listed_for_each_annotator_is_named_and_merged(tmp_path):
    """The export of Label Studio to COCO (label-studio-sdk 2.1) has an entry for each task."""
    path, count = listed_twice(tmp_path / 'in', [[1, 2, 30, 40]])
    report = check_folder(tmp_path / 'in')
    assert report.stops_training
    assert f'{path} lists 1 image(s) several times' in texts(report, 'error')
    assert 'a.jpg' in texts(report, 'error')
    assert report.stats['train'].images == 3
    done = convert(tmp_path / 'in', tmp_path / 'out', to='coco')
    assert done.counts['train'][0] == 3
    record = {i.path.stem: i.record for i in find_dataset(tmp_path / 'out').images}['a']
    own = [box for box in record.boxes if box != (1, 2, 31, 42)]
    assert len(record.boxes) == len(own) + 1
    assert len(set(own)) == count
    assert not check_folder(tmp_path / 'out').stops_training


def test_training_refuses_an_image_listed_twice(tmp_path):
    path, _ = listed_twice(tmp_path, [[1, 2, 30, 40]])
    with pytest.raises(UserError, match='several times') as info:
        CheckedCocoDataset(
            ann_file=str(path),
            data_prefix=dict(img=str(tmp_path / 'images')),
            metainfo=dict(classes=('apple', 'café au lait')),
            pipeline=[],
        )
    assert str(path) in str(info.value)
    assert 'data.py convert' in str(info.value)


def test_two_files_of_one_split_are_both_kept(tmp_path):
    root = tmp_path / 'in'
    write_coco(root)
    first = root / 'annotations/instances_train2017.json'
    second = root / 'annotations/instances_train_more.json'
    data = json.loads(first.read_text())
    data['images'], other = data['images'][:1], dict(data, images=data['images'][1:])
    kept = {image['id'] for image in data['images']}
    other['annotations'] = [a for a in data['annotations'] if a['image_id'] not in kept]
    data['annotations'] = [a for a in data['annotations'] if a['image_id'] in kept]
    first.write_text(json.dumps(data))
    second.write_text(json.dumps(other))
    text = texts(check_folder(root), 'warning')
    assert '2 annotated image(s) are not in any split list' in text
    counts = convert(root, tmp_path / 'new', to='coco').counts
    assert {split: count[0] for split, count in counts.items()} == {
        'train': 1, 'annotations_instances_train_more': 2, 'val': 2,
    }  # fmt: skip


def test_a_category_without_a_name_is_refused(tmp_path):
    write_coco(tmp_path, classes=('apple', ' '))
    with pytest.raises(UserError, match='category 8 without a name'):
        find_dataset(tmp_path)


def test_a_split_of_nothing_is_never_exit_0(tmp_path):
    root = tmp_path / 'in'
    write_coco(root)
    path = root / 'annotations/instances_val2017.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(images=[], annotations=[])))
    assert 'val: 0 images' in texts(check_folder(root), 'error')
    assert tool('data', 'check', root).returncode == 1
    done = tool('data', 'convert', root, tmp_path / 'new', '--to', 'yolo')
    assert done.returncode == 2
    assert 'no image of the split val' in done.stderr
