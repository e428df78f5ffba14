"""The same images and boxes in every layout come out the same, with what is wrong with them."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mbv2_backbone.errors import UserError
from mbv2_backbone.sets.files import read_class_file, split_by_name, split_in
from mbv2_backbone.sets.find import find_set
from mbv2_backbone.sets.records import Annotation, Labelled, Object, sort_objects

CLASSES = ('apple', 'café au lait')
WIDTH, HEIGHT = 80, 60
NAMES = dict(train=['a', 'b', 'c'], val=['d', 'e'])


def truth(seed=0):
    """Whole boxes xyxy and labels of each image; one image has none."""
    rng = np.random.default_rng(seed)
    images = {}
    for index, name in enumerate([*NAMES['train'], *NAMES['val']]):
        count = 0 if name == 'c' else int(rng.integers(1, 4))
        corner = rng.integers(0, (WIDTH - 20, HEIGHT - 20), (count, 2))
        size = rng.integers(4, 20, (count, 2))
        labels = [(index + i) % 2 for i in range(count)]
        images[name] = np.concatenate([corner, corner + size], 1).astype(float), labels
    return images


def save_image(path, seed=0, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_coco(root, splits=NAMES, classes=CLASSES):
    boxes = truth()
    (root / 'annotations').mkdir(parents=True)
    for split, names in splits.items():
        images, annotations = [], []
        for index, name in enumerate(names, 1):
            save_image(root / 'images' / f'{name}.jpg', ord(name))
            images.append(dict(id=index, file_name=f'{name}.jpg', width=WIDTH, height=HEIGHT))
            for (x1, y1, x2, y2), label in zip(*boxes[name], strict=True):
                box = [x1, y1, x2 - x1, y2 - y1]
                annotations.append(
                    dict(id=len(annotations), image_id=index, category_id=label + 7, bbox=box)
                )
        categories = [dict(id=7 + i, name=name) for i, name in enumerate(classes)]
        data = dict(images=images, annotations=annotations, categories=categories)
        (root / 'annotations' / f'instances_{split}2017.json').write_text(json.dumps(data))


def xml_of(boxes, labels, size=(WIDTH, HEIGHT)):
    root = ElementTree.Element('annotation')
    node = ElementTree.SubElement(root, 'size')
    for key, value in zip(('width', 'height'), size, strict=True):
        ElementTree.SubElement(node, key).text = str(value)
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        item = ElementTree.SubElement(root, 'object')
        ElementTree.SubElement(item, 'name').text = CLASSES[label]
        box = ElementTree.SubElement(item, 'bndbox')
        # mmdet takes 1 off all four numbers.
        for key, value in dict(xmin=x1, ymin=y1, xmax=x2, ymax=y2).items():
            ElementTree.SubElement(box, key).text = str(int(value) + 1)
    return ElementTree.tostring(root, encoding='unicode')


def write_voc(root, splits=NAMES):
    boxes = truth()
    for folder in ('Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for split, names in splits.items():
        (root / 'ImageSets/Main' / f'{split}.txt').write_text('\n'.join(names) + '\n')
        for name in names:
            save_image(root / 'JPEGImages' / f'{name}.jpg', ord(name))
            (root / 'Annotations' / f'{name}.xml').write_text(xml_of(*boxes[name]), 'utf-8')


def write_flat_voc(root):
    for split, names in dict(train=NAMES['train'], valid=NAMES['val']).items():
        for name in names:
            save_image(root / split / f'{name}.jpg', ord(name))
            (root / split / f'{name}.xml').write_text(xml_of(*truth()[name]), 'utf-8')


def yolo_lines(boxes, labels):
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        numbers = (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH
        yield f'{label} ' + ' '.join(map(repr, map(float, (*numbers, (y2 - y1) / HEIGHT))))


def write_yolo(root):
    for split, names in NAMES.items():
        (root / 'labels' / split).mkdir(parents=True)
        for name in names:
            save_image(root / 'images' / split / f'{name}.jpg', ord(name))
            if len(truth()[name][0]):
                text = '\n'.join(yolo_lines(*truth()[name]))
                (root / 'labels' / split / f'{name}.txt').write_text(text)
    names = '\n'.join(f'  {i}: {name}' for i, name in enumerate(CLASSES))
    text = f'path: .\ntrain: images/train\nval: images/val\nnames:\n{names}\n'
    (root / 'data.yaml').write_text(text, 'utf-8')


def write_roboflow_yolo(root):
    """Paths in its YAML file do not lead to its own folders."""
    write_yolo(root / 'tmp')
    for split, name in dict(train='train', val='valid').items():
        (root / name).mkdir()
        for kind in ('images', 'labels'):
            (root / 'tmp' / kind / split).rename(root / name / kind)
    text = f'train: ../train/images\nval: ../valid/images\nnames: {json.dumps(CLASSES)}\n'
    (root / 'data.yaml').write_text(text)


def write_labelme(root):
    for split, names in NAMES.items():
        for name in names:
            save_image(root / split / f'{name}.jpg', ord(name))
            shapes = [
                dict(label=CLASSES[label], points=[[x1, y2], [x2, y1]], shape_type='rectangle')
                for (x1, y1, x2, y2), label in zip(*truth()[name], strict=True)
            ]
            data = dict(shapes=shapes, imageWidth=WIDTH, imageHeight=HEIGHT)
            (root / split / f'{name}.json').write_text(json.dumps(data), 'utf-8')


WRITERS = dict(
    coco=write_coco,
    voc=write_voc,
    flat_voc=write_flat_voc,
    yolo=write_yolo,
    roboflow_yolo=write_roboflow_yolo,
    labelme=write_labelme,
)


@pytest.mark.parametrize('kind', WRITERS)
def test_every_layout_gives_the_same_boxes(kind, tmp_path):
    WRITERS[kind](tmp_path)
    image_set = find_set(tmp_path)
    assert image_set.layout == kind.rpartition('_')[2]
    assert image_set.classes == CLASSES
    assert not image_set.is_split_by_name
    assert not image_set.problems
    found = {
        split: {item.path.stem: item.record for item in items}
        for split, items in image_set.splits.items()
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
    record = find_set(tmp_path).images[0].record
    assert record.boxes == ((25, 25, 35, 35), (1, 2, 12, 9))
    assert record.dropped == (('nonsense', 'not four numbers'),)


def test_boxes_of_polygons_in_yolo_and_lines_that_make_no_sense(tmp_path):
    (tmp_path / 'labels').mkdir()
    lines = [
        '0 0.1 0.1 0.5 0.2 0.3 0.4',
        '9 0.5 0.5 0.2 0.2',
        '0 0.5 x 0.2 0.2',
        '1 0.5 0.5 -0.2 1',
    ]
    for name in 'ab':
        save_image(tmp_path / 'images' / f'{name}.jpg')
        (tmp_path / 'labels' / f'{name}.txt').write_text('\n'.join(lines))
    (tmp_path / 'classes.txt').write_text('apple\npear\n')
    record = find_set(tmp_path).images[0].record
    np.testing.assert_allclose(record.boxes, [(8, 6, 40, 24)], atol=1e-6)
    problems = ["unknown class '9'", 'not four numbers', 'inverted']
    assert [problem for _, problem in record.dropped] == problems


def write_masks(root, kind):
    for split, names in NAMES.items():
        images, masks = {
            'by split': (root / 'images' / split, root / 'masks' / split),
            'in splits': (root / split / 'images', root / split / 'masks'),
            'camvid': (root / split, root / f'{split}annot'),
            'voc': (root / 'JPEGImages', root / 'SegmentationClass'),
        }[kind]
        masks.mkdir(parents=True, exist_ok=True)
        for name in names:
            save_image(images / f'{name}.jpg')
            Image.fromarray(np.eye(HEIGHT, WIDTH, dtype=np.uint8)).save(masks / f'{name}.png')
        if kind == 'voc':
            lists = root / 'ImageSets/Segmentation'
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f'{split}.txt').write_text('\n'.join(names))


@pytest.mark.parametrize('kind', ['by split', 'in splits', 'camvid', 'voc'])
def test_masks_are_found_in_the_usual_folders(kind, tmp_path):
    write_masks(tmp_path, kind)
    image_set = find_set(tmp_path, task='seg')
    assert image_set.layout == 'masks'
    for split, names in NAMES.items():
        items = image_set.splits[split]
        assert [(item.path.stem, item.mask.stem) for item in items] == [(n, n) for n in names]
        assert all(item.mask.is_file() for item in items)


def test_masks_and_boxes_of_one_folder(sample_set):
    names = ('disc', 'square', 'triangle', 'star')
    both = find_set(sample_set, task='both')
    assert both.found == ('coco', 'voc', 'masks')
    assert (both.layout, both.classes) == ('coco', names)
    assert both.mask_classes == ('background', *names)
    assert all(item.mask.is_file() for item in both.images)
    masks = find_set(sample_set, task='seg')
    assert (masks.layout, masks.mask_classes) == ('masks', both.mask_classes)
    voc = find_set(sample_set, layout='voc')
    records = {item.path.stem: item.record for item in both.images}
    for item in voc.images:
        # The 1-based corners of VOC lose the last pixel at mmdet.
        ours = np.reshape(records[item.path.stem].boxes, (-1, 4)) - [0, 0, 1, 1]
        np.testing.assert_array_equal(np.reshape(item.record.boxes, (-1, 4)), ours)


def test_a_set_without_splits_is_split_by_name(tmp_path):
    write_coco(tmp_path, dict(everything=list('abcde')))
    image_set = find_set(tmp_path)
    assert image_set.is_split_by_name
    assert 'hash' in image_set.notes[0]
    names = {split: {i.path.stem for i in items} for split, items in image_set.splits.items()}
    assert names['train'] | names['val'] == set('abcde')
    assert not names['train'] & names['val']


def test_the_split_by_name_takes_a_fifth_and_stays():
    items = [Labelled(Path(f'image_{i}.jpg')) for i in range(1000)]
    first = split_by_name(items[:500])
    both = split_by_name(items[::-1])
    assert 150 < len(both['val']) < 250
    assert {item.path for item in first['val']} <= {item.path for item in both['val']}
    assert [len(part) for part in split_by_name(items[:2]).values()] == [1, 1]
    with pytest.raises(UserError, match='at least 2'):
        split_by_name(items[:1])


def test_names_of_splits():
    table = dict(instances_train2017='train', valid='val', VALIDATION='val', trainval='trainval')
    table |= {'my-test.v2': 'test', 'streetrain': None, 'values': None}
    assert {name: split_in(name) for name in table} == table


def test_trainval_trains_where_there_is_no_train(tmp_path):
    write_voc(tmp_path, dict(trainval=NAMES['train'], test=NAMES['val']))
    splits = find_set(tmp_path).splits
    assert {name: len(items) for name, items in splits.items()} == dict(train=3, test=2)


def test_names_and_colours_of_classes(tmp_path):
    path = tmp_path / 'labelmap.txt'
    path.write_text('# label:color_rgb:parts:actions\nbackground:0,0,0::\ntraffic light:9,8,7::\n')
    assert read_class_file(path) == (('background', 'traffic light'), ((0, 0, 0), (9, 8, 7)))
    path.write_text('chat gris 1 2 3\nchien\n', 'utf-8')
    assert read_class_file(path) == (('chat gris', 'chien'), ())


def test_boxes_are_sorted_by_whether_they_can_be_trained_on():
    objects = [
        Object('apple', 1, (-5, 2, 30, 40)),
        Object('apple', 2, (5, 2, 5.5, 40)),
        Object('apple', 3, (90, 2, 95, 40)),
        Object('pear', 4, (1, 2, 9, 9)),
    ]
    sound, dropped = sort_objects(Annotation(objects), ('apple',), (80, 60))
    assert [box for _, box in sound] == [(0, 2, 30, 40)]
    problems = ['smaller than a pixel', 'outside the image', "unknown class 'pear'"]
    assert dropped == list(zip((2, 3, 4), problems, strict=True))
    stated = Annotation(objects, stated_wh=(100, 60))
    assert len(sort_objects(stated, ('apple',), (80, 60))[0]) == 2


def test_what_cannot_be_found(tmp_path):
    with pytest.raises(UserError, match='no folder'):
        find_set(tmp_path / 'missing')
    with pytest.raises(UserError, match='no images with annotations'):
        find_set(tmp_path)
    write_voc(tmp_path)
    with pytest.raises(UserError, match='it holds voc'):
        find_set(tmp_path, layout='coco')
    with pytest.raises(UserError, match='no layout is called'):
        find_set(tmp_path, layout='pascal')


def test_files_of_one_set_must_agree_on_the_classes(tmp_path):
    write_coco(tmp_path, dict(train=['a']))
    write_coco(tmp_path / 'other', dict(val=['d']), CLASSES[::-1])
    name = 'annotations/instances_val2017.json'
    (tmp_path / 'other' / name).rename(tmp_path / name)
    assert 'the same in the same order' in find_set(tmp_path).problems[0]


def test_a_broken_annotation_file_is_named(tmp_path):
    write_coco(tmp_path)
    path = tmp_path / 'annotations/instances_val2017.json'
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match=r'instances_val2017\.json is no JSON'):
        find_set(tmp_path)
