"""Every format gives the same records and problems."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.dataset import (
    CLASSES,
    HEIGHT,
    NAMES,
    WIDTH,
    save_image,
    truth,
    write_coco,
    write_flat_voc,
    write_labelme,
    write_roboflow_yolo,
    write_voc,
    write_yolo,
)

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.find import find_dataset
from mbv2_backbone.workbench.data.names import read_class_file, split_by_name, split_in
from mbv2_backbone.workbench.data.records import Labelled

WRITERS = dict(
    coco=write_coco,
    voc=write_voc,
    flat_voc=write_flat_voc,
    yolo=write_yolo,
    roboflow_yolo=write_roboflow_yolo,
    labelme=write_labelme,
)


@pytest.mark.parametrize('kind', WRITERS)
def test_every_format_gives_the_same_boxes(kind, tmp_path):
    WRITERS[kind](tmp_path)
    dataset = find_dataset(tmp_path)
    assert dataset.format == kind.rpartition('_')[2]
    assert dataset.classes == CLASSES
    assert not dataset.is_split_by_name
    assert not dataset.problems
    found = {
        split: {item.path.stem: item.record for item in items}
        for split, items in dataset.splits.items()
    }
    assert {split: sorted(records) for split, records in found.items()} == NAMES
    for name, (boxes, labels) in truth().items():
        record = found['train' if name in NAMES['train'] else 'val'][name]
        assert record.size_wh == (WIDTH, HEIGHT)
        assert record.problems == record.dropped == ()
        assert record.labels == tuple(labels)
        np.testing.assert_allclose(np.reshape(record.boxes, (-1, 4)), boxes, atol=1e-6)
        assert np.reshape(record.relative_boxes, (-1, 4)) == pytest.approx(
            boxes / [WIDTH, HEIGHT, WIDTH, HEIGHT]
        )


def test_shapes_of_labelme_become_boxes(tmp_path):
    points = dict(circle=[[30, 30], [33, 34]], polygon=[[1, 9], [5, 2], [12, 4]], line='nonsense')
    shapes = [dict(label=kind, points=p, shape_type=kind) for kind, p in points.items()]
    for name in 'ab':
        save_image(tmp_path / f'{name}.jpg')
        (tmp_path / f'{name}.json').write_text(json.dumps(dict(shapes=shapes)))
    record = find_dataset(tmp_path).images[0].record
    assert record.boxes == ((25, 25, 35, 35), (1, 2, 12, 9))
    assert record.dropped == (('nonsense', 'not four numbers'),)


def test_an_invalid_class_number_is_not_a_class_name(tmp_path):
    write_coco(tmp_path / 'coco', classes=('5', 'pear'))
    path = tmp_path / 'coco/annotations/instances_val2017.json'
    data = json.loads(path.read_text())
    data['annotations'] = [dict(id=0, image_id=1, category_id=5, bbox=[1, 2, 9, 9])]
    path.write_text(json.dumps(data))
    record = find_dataset(tmp_path / 'coco').splits['val'][0].record
    assert record.dropped == (([1, 2, 9, 9], 'unknown class 5'),)
    write_yolo(tmp_path / 'yolo')
    (tmp_path / 'yolo/data.yaml').write_text("names: ['1', '5']\n")
    (tmp_path / 'yolo/labels/val/d.txt').write_text('5 0.5 0.5 0.2 0.2')
    record = find_dataset(tmp_path / 'yolo').splits['val'][0].record
    assert record.dropped == (('5 0.5 0.5 0.2 0.2', "unknown class '5'"),)


def test_names_with_spaces_in_lists(tmp_path):
    write_voc(tmp_path)
    lists = tmp_path / 'ImageSets/Main'
    for old, new in dict(a='IMG (1)', b='IMG 1').items():
        for folder, suffix in (('JPEGImages', 'jpg'), ('Annotations', 'xml')):
            path = tmp_path / folder / f'{old}.{suffix}'
            path.rename(path.with_stem(new))
    (lists / 'train.txt').write_text('IMG (1)\nIMG 1\n')
    (lists / 'val.txt').write_text('d  1\ne -1\n')
    splits = find_dataset(tmp_path).splits
    assert [item.path.stem for item in splits['train']] == ['IMG (1)', 'IMG 1']
    assert all(item.path.is_file() for item in splits['train'])
    assert [item.path.stem for item in splits['val']] == ['d', 'e']


def test_a_file_of_all_images_beside_the_splits(tmp_path):
    write_coco(tmp_path / 'other', dict(all=list('abcde')))
    write_coco(tmp_path, dict(train=['a', 'b'], val=['d']))
    name = 'annotations/instances_all2017.json'
    (tmp_path / 'other' / name).rename(tmp_path / name)
    for image in 'ce':
        save_image(tmp_path / f'images/{image}.jpg')
    dataset = find_dataset(tmp_path)
    assert dataset.splits.keys() == dataset.sources.keys() == {'train', 'val'}
    assert '2 annotated image(s) are not in any split list' in '\n'.join(dataset.notes)
    assert find_dataset(tmp_path, keep_splits=True).splits.keys() == {
        'train',
        'val',
        'instances_all2017',
    }


def test_coco_files_with_a_byte_order_mark(tmp_path):
    write_coco(tmp_path)
    path = tmp_path / 'annotations/instances_val2017.json'
    path.write_text(path.read_text(), 'utf-8-sig')
    (problem,) = find_dataset(tmp_path).problems
    assert problem.startswith(f'{path} begins with a byte order mark')


def test_a_dataset_without_splits_is_split_by_name(tmp_path):
    write_coco(tmp_path, dict(everything=list('abcde')))
    dataset = find_dataset(tmp_path)
    assert dataset.is_split_by_name
    assert 'hash' in '\n'.join(dataset.notes)
    names = {split: {i.path.stem for i in items} for split, items in dataset.splits.items()}
    assert names['train'] | names['val'] == set('abcde')
    assert not names['train'] & names['val']


def test_the_split_by_name_takes_a_fifth_and_is_stable():
    items = [Labelled(Path(f'image_{i}.jpg')) for i in range(1000)]
    first = split_by_name(items[:500])
    both = split_by_name(items[::-1])
    assert 150 < len(both['val']) < 250
    assert {item.path for item in first['val']} <= {item.path for item in both['val']}
    assert [len(part) for part in split_by_name(items[:2]).values()] == [1, 1]
    odd = [Labelled(Path(os.fsdecode(bytes([i]) + b'.jpg'))) for i in (65, 255)]
    assert len(split_by_name(odd)['val']) == 1
    with pytest.raises(UserError, match='at least 2'):
        split_by_name(items[:1])


def test_names_of_splits():
    table = dict(instances_train2017='train', valid='val', VALIDATION='val', trainval='trainval')
    table |= {'my-test.v2': 'test', 'streetrain': None, 'values': None}
    assert {name: split_in(name) for name in table} == table


def test_trainval_is_used_where_there_is_no_train(tmp_path):
    write_voc(tmp_path, dict(trainval=NAMES['train'], test=NAMES['val']))
    splits = find_dataset(tmp_path).splits
    assert {name: len(items) for name, items in splits.items()} == dict(train=3, test=2)


def test_names_and_colours_of_classes(tmp_path):
    path = tmp_path / 'labelmap.txt'
    path.write_text('# label:color_rgb:parts:actions\nbackground:0,0,0::\ntraffic light:9,8,7::\n')
    assert read_class_file(path) == (('background', 'traffic light'), ((0, 0, 0), (9, 8, 7)))
    # The format that CVAT and Datumaro write: parts and actions behind the colour, if any.
    path.write_text('background:0,0,0::\nperson:192,128,128:head,hand:jump,run\ncar:9, 8, 7::\n')
    colours = (0, 0, 0), (192, 128, 128), (9, 8, 7)
    assert read_class_file(path) == (('background', 'person', 'car'), colours)
    path.write_text('person::head,hand:jump\ncar:::\na: b\n12:30\n')
    assert read_class_file(path) == (('person', 'car', 'a: b', '12:30'), ())
    path.write_text('chat gris 1 2 3\nchien\n', 'utf-8')
    assert read_class_file(path) == (('chat gris', 'chien'), ())


def test_what_cannot_be_found(tmp_path):
    with pytest.raises(UserError, match='no folder'):
        find_dataset(tmp_path / 'missing')
    with pytest.raises(UserError, match='no images with annotations'):
        find_dataset(tmp_path)
    write_voc(tmp_path)
    with pytest.raises(UserError, match='it holds voc'):
        find_dataset(tmp_path, format_name='coco')
    with pytest.raises(UserError, match='unknown format'):
        find_dataset(tmp_path, format_name='pascal')


def test_files_of_one_dataset_must_agree_on_the_classes(tmp_path):
    write_coco(tmp_path, dict(train=['a']))
    write_coco(tmp_path / 'other', dict(val=['d']), CLASSES[::-1])
    name = 'annotations/instances_val2017.json'
    (tmp_path / 'other' / name).rename(tmp_path / name)
    assert 'the same in the same order' in find_dataset(tmp_path).problems[0]


def test_a_broken_annotation_file_is_named(tmp_path):
    write_coco(tmp_path)
    path = tmp_path / 'annotations/instances_val2017.json'
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match=r'instances_val2017\.json is not valid JSON'):
        find_dataset(tmp_path)
