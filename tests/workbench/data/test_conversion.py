"""Boxes and polygons survive every conversion from one format to another."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from helpers.convert import (
    CLASSES,
    NUM,
    TWO_PARTS,
    outlined,
    random_dataset,
    truth_rows,
    write_coco_splits,
)
from helpers.files import contents
from pycocotools import mask as mask_utils

from mbv2_backbone.det import CheckedCocoDataset, CheckedVOCDataset
from mbv2_backbone.workbench.data.conversion import WRITERS, convert
from mbv2_backbone.workbench.data.find import find_dataset
from mbv2_backbone.workbench.data.outlines import area_of, join_parts, read_outline

PAIRS = [(a, b) for a in WRITERS for b in WRITERS if a != b]


def objects_of(records, *, with_ignored=True):
    found = [
        (label, is_ignored, *box)
        for box, label, is_ignored in zip(
            records.boxes, records.labels, records.is_ignored, strict=True
        )
        if with_ignored or not is_ignored
    ]
    return np.array(found, float).reshape(-1, 6)


@pytest.mark.parametrize(('first', 'second'), PAIRS)
def test_round_trips(tmp_path, first, second):
    source, splits = random_dataset(tmp_path / 'source', seed=PAIRS.index((first, second)))
    before = contents(source)
    done = convert(source, tmp_path / 'first', to=first)
    assert done.source_format == 'coco'
    assert done.problems == []
    again = convert(tmp_path / 'first', tmp_path / 'second', to=second)
    assert again.source_format == first
    assert again.problems == []
    assert contents(source) == before

    result = find_dataset(tmp_path / 'second')
    assert result.format == second
    assert result.classes == CLASSES
    assert {split: len(items) for split, items in result.splits.items()} == NUM
    with_ignored = 'yolo' not in (first, second)
    tolerance = 0.501 if 'voc' in (first, second) else 1e-3
    for split, images in splits.items():
        by_stem = {item.path.stem: item.record for item in result.splits[split]}
        for name, (_, _, objects) in images.items():
            stem = Path(name).stem
            record = by_stem[stem.replace(' ', '_') if 'voc' in (first, second) else stem]
            found = objects_of(record)
            if second == 'voc':
                found[:, 4:] += 1  # mmdet's reader leaves out the last pixel
            expected = truth_rows(objects, with_ignored=with_ignored)
            assert len(found) == len(expected)
            np.testing.assert_allclose(found, expected, atol=tolerance)
            assert cv2.imread(str(record.path)).shape[:2] == tuple(images[name][1::-1])


def test_the_sample_in_voc_format_becomes_its_coco_format(sample_dataset, tmp_path):
    convert(sample_dataset, tmp_path / 'out', to='coco', source_format='voc')
    for split in ('train', 'val'):
        documents = [
            json.loads((root / 'annotations' / f'{split}.json').read_text())
            for root in (sample_dataset, tmp_path / 'out')
        ]
        files, boxes = [], []
        for document in documents:
            names = {item['id']: item['name'] for item in document['categories']}
            files.append([image['file_name'] for image in document['images']])
            boxes.append(
                [
                    (a['image_id'], names[a['category_id']], a['bbox'])
                    for a in document['annotations']
                ]
            )
        assert files[0] == files[1]
        assert boxes[0] == boxes[1]


def test_mmdet_reads_coco(tmp_path):
    source, splits = random_dataset(tmp_path / 'source', seed=50)
    convert(source, tmp_path / 'out', to='coco')
    dataset = CheckedCocoDataset(
        data_root=str(tmp_path / 'out'),
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/val/'),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
    )
    assert dataset.dropped_boxes == []
    for info, (_, _, objects) in zip(dataset, splits['val'].values(), strict=True):
        found = [(i['bbox_label'], i['ignore_flag'], *i['bbox']) for i in info['instances']]
        np.testing.assert_allclose(np.reshape(found, (-1, 6)), truth_rows(objects), atol=1e-3)
        assert Path(info['img_path']).is_file()


def test_mmdet_reads_voc(tmp_path):
    source, splits = random_dataset(tmp_path / 'source', seed=51)
    convert(source, tmp_path / 'out', to='voc')
    dataset = CheckedVOCDataset(
        data_root=str(tmp_path / 'out'),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
    )
    assert dataset.dropped_boxes == []
    for info, (_, _, objects) in zip(dataset, splits['train'].values(), strict=True):
        found = [(i['bbox_label'], i['ignore_flag'], *i['bbox']) for i in info['instances']]
        last_pixel = [0, 0, 0, 0, 1, 1]
        np.testing.assert_allclose(
            np.reshape(found, (-1, 6)) + last_pixel, truth_rows(objects), atol=0.501
        )
        assert Path(info['img_path']).is_file()
    lists = tmp_path / 'out' / 'ImageSets' / 'Main'
    assert len((lists / 'trainval.txt').read_text().split()) == sum(NUM.values())


def test_yolo_files(tmp_path):
    source, splits = random_dataset(tmp_path / 'source', seed=52)
    done = convert(source, tmp_path / 'out', to='yolo')
    root = tmp_path / 'out'
    config = yaml.safe_load((root / 'data.yaml').read_text(encoding='utf-8'))
    assert config == dict(
        train='images/train', val='images/val', nc=3, names=dict(enumerate(CLASSES))
    )
    num_ignored = 0
    for split, images in splits.items():
        for name, (width, height, objects) in images.items():
            assert (root / 'images' / split / name).is_file()
            rows = (root / 'labels' / split / name).with_suffix('.txt').read_text().splitlines()
            kept = [item for item in objects if not item['iscrowd']]
            num_ignored += len(objects) - len(kept)
            assert len(rows) == len(kept)
            for row, item in zip(rows, kept, strict=True):
                label, *numbers = map(float, row.split())
                x, y, w, h = item['bbox']
                assert label == (item['category_id'] - 2) // 3
                expected = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
                np.testing.assert_allclose(numbers, expected, atol=1e-8)
    assert num_ignored
    assert any(note.startswith(f'{num_ignored} difficult') for note in done.notes)


def test_labelme_files(tmp_path):
    objects = [dict(bbox=[1.5, 2, 10, 20], iscrowd=1), dict(bbox=[4, 5, 6, 7], category_id=5)]
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, objects)}})
    convert(source, tmp_path / 'out', to='labelme')
    document = json.loads((tmp_path / 'out/train/a.json').read_text(encoding='utf-8'))
    assert (document['imagePath'], document['imageData']) == ('a.jpg', None)
    assert (document['imageWidth'], document['imageHeight']) == (40, 30)
    first, second = document['shapes']
    assert (first['label'], second['label']) == CLASSES[:2]
    assert first['points'] == [[1.5, 2], [11.5, 22]]
    assert first['shape_type'] == second['shape_type'] == 'rectangle'
    assert (first['flags'], second['flags']) == ({'difficult': True}, {})


RUNS = {'size': [30, 40], 'counts': [30 * 5 + 4, 10] + [20, 10] * 6 + [30 * 28 + 16]}


def coco_outlines(root):
    document = json.loads((root / 'annotations' / 'train.json').read_text())
    return [item['segmentation'] for item in document['annotations']]


def test_polygons_survive_labelme(tmp_path):
    convert(outlined(tmp_path), tmp_path / 'labelme', to='labelme')
    shapes = json.loads((tmp_path / 'labelme/train/a.json').read_text())['shapes']
    assert [shape['shape_type'] for shape in shapes] == ['polygon'] * 3 + ['rectangle']
    assert [shape['group_id'] for shape in shapes] == [None, 2, 2, None]
    done = convert(tmp_path / 'labelme', tmp_path / 'coco', to='coco')
    assert done.counts['train'] == (1, 0, 0, 3)
    assert coco_outlines(tmp_path / 'coco') == [[[2, 3, 20, 3, 20, 15]], TWO_PARTS, []]


def test_polygons_survive_yolo(tmp_path):
    convert(outlined(tmp_path), tmp_path / 'yolo', to='yolo')
    rows = (tmp_path / 'yolo/labels/train/a.txt').read_text().splitlines()
    assert all(len(row.split()) > 5 for row in rows), 'Ultralytics refuses mixed rows'
    convert(tmp_path / 'yolo', tmp_path / 'coco', to='coco')
    (one,), (two,), (plain,) = coco_outlines(tmp_path / 'coco')
    np.testing.assert_allclose(one, [2, 3, 20, 3, 20, 15], atol=1e-5)
    np.testing.assert_allclose(plain, [5, 6, 12, 6, 12, 14, 5, 14], atol=1e-5)
    drawn, expected = np.zeros((2, 300, 400), np.uint8)
    cv2.fillPoly(drawn, [np.round(np.reshape(two, (-1, 2)) * 10).astype(int)], 1)
    for part in TWO_PARTS:
        cv2.fillPoly(expected, [np.round(np.reshape(part, (-1, 2)) * 10).astype(int)], 1)
    assert (drawn != expected).sum() < 100  # the bridge, a line
    assert area_of([two]) == pytest.approx(area_of(TWO_PARTS), abs=1e-3)


def test_voc_names_the_polygons_that_it_loses(tmp_path):
    done = convert(outlined(tmp_path), tmp_path / 'out', to='voc')
    assert '2 outline(s) are dropped: VOC stores only boxes' in done.notes


def test_run_lengths_become_polygons():
    polygons = read_outline(RUNS, (40, 30))
    mask = mask_utils.decode(mask_utils.frPyObjects(RUNS, 30, 40))
    assert mask.sum() == 70
    runs = mask_utils.frPyObjects([list(map(float, part)) for part in polygons], 30, 40)
    np.testing.assert_array_equal(mask_utils.decode(mask_utils.merge(runs)), mask)


@pytest.mark.parametrize('stored', [None, [], [[1, 2, 3, 4]], 'x', [[1, 2, 3, 4, 5, float('nan')]]])
def test_no_polygon(stored):
    assert read_outline(stored, (40, 30)) == []


def test_a_polygon_is_clipped_at_the_edges():
    assert read_outline([[-3, 5, 50, 5, 50, 99]], (40, 30)) == [[0, 5, 40, 5, 40, 30]]


def test_joined_parts_keep_their_points():
    joined = np.reshape(join_parts(TWO_PARTS), (-1, 2)).tolist()
    assert {tuple(p) for p in joined} == {
        tuple(p) for part in TWO_PARTS for p in np.reshape(part, (-1, 2)).tolist()
    }


def test_boxes_that_do_not_fit_their_polygons_are_counted(tmp_path):
    item = dict(bbox=[2, 3, 30, 12], segmentation=[[2, 3, 20, 3, 20, 15]])
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [item])}})
    for to in ('yolo', 'labelme'):
        notes = convert(source, tmp_path / to, to=to).notes
        said = '1 box(es) become those around their outlines, by up to 12 pixels'
        assert any(note.startswith(said) for note in notes)
    notes = convert(source, tmp_path / 'coco', to='coco').notes
    assert not any('box(es)' in note for note in notes)
