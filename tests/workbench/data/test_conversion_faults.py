"""Faults in a conversion: what is named, left out, renamed and refused."""

import json
import os

import cv2
import numpy as np
import pytest
from helpers.convert import NUM, outlined, random_dataset, write_coco_splits
from helpers.files import contents
from helpers.small import tool
from PIL import Image

from mbv2_backbone.annotations.images import EXIF_ORIENTATION
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.annotated_images import Findings, load_image, read_annotated_image
from mbv2_backbone.workbench.data.conversion import WRITERS, convert
from mbv2_backbone.workbench.data.find import find_dataset


def test_problems_are_named(tmp_path):
    objects = [
        dict(bbox=[4, 5, 6, 7]),
        dict(bbox=[100, 5, 6, 7]),
        dict(bbox=[4, 5, 6, 7], category_id=77),
        dict(bbox=[4, 5, 0, 7]),
        dict(bbox=[30, 5, 20, 7]),
    ]
    images = {'a.jpg': (40, 30, objects), 'b.jpg': (40, 30, []), 'c.jpg': (40, 30, [])}
    source = write_coco_splits(tmp_path / 'in', {'train': images})
    (source / 'train/b.jpg').unlink()
    (source / 'train/c.jpg').write_bytes(b'no image')
    done = convert(source, tmp_path / 'out', to='coco')
    assert done.counts == {'train': (1, 0, 0, 2)}
    text = '\n'.join(done.problems)
    for part in (
        'a.jpg: box [100, 5, 6, 7] outside the image; dropped',
        'unknown class 77; dropped',
        'zero area; dropped',
        'box [30, 5, 20, 7] extends beyond the image; clipped',
        'b.jpg does not exist; dropped',
        'c.jpg cannot be read',
    ):
        assert part in text
    assert len(done.problems) == 6
    document = json.loads((tmp_path / 'out/annotations/train.json').read_text())
    assert [a['bbox'] for a in document['annotations']] == [[4, 5, 6, 7], [30, 5, 10, 7]]


def test_an_unknown_class_of_yolo_and_a_broken_xml_are_named(tmp_path):
    source, _ = random_dataset(tmp_path / 'in', seed=60)
    convert(source, tmp_path / 'yolo', to='yolo')
    label = next((tmp_path / 'yolo/labels/train').glob('*.txt'))
    label.write_text('8 0.5 0.5 0.2 0.2\n')
    assert any(
        "unknown class '8'" in p
        for p in convert(tmp_path / 'yolo', tmp_path / 'a', to='coco').problems
    )
    convert(source, tmp_path / 'voc', to='voc')
    broken = next((tmp_path / 'voc/Annotations').glob('train*.xml'))
    broken.write_text('<annotation')
    done = convert(tmp_path / 'voc', tmp_path / 'b', to='coco')
    assert done.counts['train'][0] == NUM['train'] - 1
    assert any(broken.name in p and 'is skipped' in p for p in done.problems)


def test_an_image_rotated_by_exif_data(tmp_path):
    source = write_coco_splits(
        tmp_path / 'in', {'train': {'a.jpg': (40, 30, [dict(bbox=[30, 5, 8, 7])])}}
    )
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    image = Image.open(source / 'train/a.jpg')
    image.save(source / 'train/a.jpg', exif=exif)
    done = convert(source, tmp_path / 'coco', to='coco')
    assert len(done.problems) == 1
    assert 'a.jpg is rotated by its EXIF data' in done.problems[0]
    document = json.loads((tmp_path / 'coco/annotations/train.json').read_text())
    assert (document['images'][0]['width'], document['images'][0]['height']) == (40, 30)
    item = find_dataset(tmp_path / 'coco', keep_splits=True).images[0]
    assert load_image(read_annotated_image(item, 'coco', Findings())).shape == (30, 40, 3)


def test_a_wrong_image_size_is_named(tmp_path):
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})
    path = source / 'annotations/instances_train.json'
    path.write_text(path.read_text().replace('"width": 40', '"width": 80'))
    (problem,) = convert(source, tmp_path / 'out', to='coco').problems
    assert 'a.jpg is 40x30 pixels, its annotation gives 80x30' in problem


def test_images_without_annotations_are_counted(tmp_path):
    source, _ = random_dataset(tmp_path / 'in', seed=61)
    (source / 'val/more.jpg').write_bytes((source / 'val/val image 0.jpg').read_bytes())
    notes = convert(source, tmp_path / 'out', to='yolo').notes
    assert '1 image(s) without annotations are skipped: more.jpg' in notes


def test_duplicate_names(tmp_path):
    images = {'1.jpg': (40, 30, [dict(bbox=[4, 5, 6, 7])])}
    other = {'1.jpg': (50, 30, [dict(bbox=[8, 5, 6, 7])])}
    source = write_coco_splits(tmp_path / 'in', {'train': images, 'val': other})
    done = convert(source, tmp_path / 'voc', to='voc')
    assert any('1.jpg is 1_2.jpg in the new dataset' in note for note in done.notes)
    assert (tmp_path / 'voc/ImageSets/Main/val.txt').read_text() == '1_2\n'
    assert cv2.imread(str(tmp_path / 'voc/JPEGImages/1_2.jpg')).shape[1] == 50
    convert(source, tmp_path / 'coco', to='coco')
    assert cv2.imread(str(tmp_path / 'coco/images/val/1.jpg')).shape[1] == 50


def test_voc_has_jpeg_only(tmp_path):
    done = convert(outlined(tmp_path), tmp_path / 'out', to='voc')
    data = (tmp_path / 'out/JPEGImages/a.jpg').read_bytes()
    assert data.startswith(b'\xff\xd8')
    assert any(note.startswith('1 image(s) were encoded as JPEG') for note in done.notes)
    again = convert(tmp_path / 'in', tmp_path / 'yolo', to='yolo')
    assert (tmp_path / 'yolo/images/train/a.png').read_bytes().startswith(b'\x89PNG')
    assert not any('JPEG' in note for note in again.notes)


def test_one_image_without_objects(tmp_path):
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})
    for to in WRITERS:
        done = convert(source, tmp_path / to, to=to)
        assert done.counts == {'train': (1, 1, 0, 0)}
    notes = convert(source, tmp_path / 'again', to='yolo').notes
    assert any("no split 'val'" in note for note in notes)
    assert (tmp_path / 'yolo/labels/train/a.txt').read_text() == ''


def test_images_are_linked_or_copied(tmp_path):
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})
    original = source / 'train/a.jpg'
    for copy in (False, True):
        convert(source, tmp_path / 'out', to='yolo', copy=copy, force=True)
        placed = tmp_path / 'out/images/train/a.jpg'
        assert placed.read_bytes() == original.read_bytes()
        assert os.path.samefile(placed, original) != copy


def test_a_target_that_exists_is_refused(tmp_path):
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})
    target = tmp_path / 'out'
    target.mkdir()
    (target / 'precious.txt').write_text('mine')
    with pytest.raises(UserError, match='--force'):
        convert(source, target, to='voc')
    assert contents(target) == {'precious.txt': b'mine'}
    convert(source, target, to='voc', force=True)
    assert not (target / 'precious.txt').exists()
    for inside in (source, source / 'new', tmp_path):
        with pytest.raises(UserError, match='must not contain each other'):
            convert(source, inside, to='voc', force=True)


def test_a_failed_conversion_leaves_nothing(tmp_path, monkeypatch):
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [])}})

    def fail(root, classes, splits):
        (root / 'half').write_text('x')
        raise OSError('disk full')

    monkeypatch.setitem(WRITERS, 'voc', fail)
    with pytest.raises(OSError, match='disk full'):
        convert(source, tmp_path / 'out', to='voc')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in']


def test_a_dataset_without_boxes_is_refused(tmp_path):
    for folder in ('images', 'masks'):
        (tmp_path / 'in' / folder).mkdir(parents=True)
        pixels = np.zeros((8, 8), np.uint8)
        for name in 'ab':
            cv2.imwrite(str(tmp_path / 'in' / folder / f'{name}.png'), pixels)
    with pytest.raises(UserError, match='without boxes'):
        convert(tmp_path / 'in', tmp_path / 'out', to='coco')


def test_the_tool(sample_dataset, tmp_path):
    out = tmp_path / 'yolo'
    done = tool('data', 'convert', sample_dataset, out, '--to', 'yolo', '--from', 'voc')
    assert done.returncode == 0, done.stderr
    assert f'voc to yolo: {out}' in done.stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows['train'][0] == '24'
    assert rows['val'][0] == '8'
    assert len(list((out / 'labels').rglob('*.txt'))) == 32
    again = tool('data', 'convert', sample_dataset, out, '--to', 'yolo')
    assert again.returncode == 2
    assert 'error:' in again.stderr
    assert '--force' in again.stderr
