"""`data check` finds every known fault, and fails only for those that prevent training."""

import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from helpers.check import SIZE, texts
from helpers.dataset import voc_xml
from helpers.fault import faulty_images, jpeg, smooth_pixels
from helpers.paths import ROOT
from mmengine.config import Config
from PIL import Image

from mbv2_backbone.workbench.data.check.check import check_config, check_folder
from mbv2_backbone.workbench.data.check.stats import count_split, describe


def write_voc_objects(root, train, val):
    """Write a VOC dataset from the objects `(name, xyxy)` of each image; xyxy counts from 1."""
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for split, images in dict(train=train, val=val).items():
        (root / f'ImageSets/Main/{split}.txt').write_text('\n'.join(images))
        for name, objects in images.items():
            seed = zlib.crc32(name.encode())
            (root / f'JPEGImages/{name}.jpg').write_bytes(jpeg(smooth_pixels(*SIZE, seed=seed)))
            (root / f'Annotations/{name}.xml').write_text(voc_xml(SIZE, objects))


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / 'dataset'
    cat, dog = ('cat', (11, 11, 41, 31)), ('dog', (1, 1, 71, 51))
    train = {f't{i}': [cat, dog] for i in range(30)}
    write_voc_objects(root, train, dict(v0=[cat], v1=[]))
    return root


def test_a_sound_dataset(voc):
    report = check_folder(voc)
    assert {finding.level for finding in report.findings} == {'ok'}
    assert not report.stops_training
    train, val = report.stats['train'], report.stats['val']
    assert (train.images, train.empty, train.boxes) == (30, 0, dict(cat=30, dog=30))
    assert (val.images, val.empty, val.boxes) == (2, 1, dict(cat=1, dog=0))
    assert train.coco_sizes == dict(small=30, medium=30, large=0)
    assert train.areas['least'] == 30 * 20
    assert train.areas['most'] == 70 * 50
    assert train.relative_sizes['least'] == pytest.approx((600 / 4800) ** 0.5)
    assert train.image_sizes == {'80x60': 30}
    text = str(report)
    assert text.splitlines()[0] == f'{voc}: voc'
    assert [line.split() for line in text.splitlines() if '  cat ' in line] == [['cat', '30', '1']]


def test_many_broken_training_images_prevent_training(voc):
    path = voc / 'JPEGImages/t3.jpg'
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = check_folder(voc)
    assert not report.stops_training  # one of thirty is tolerated
    assert 't3.jpg is truncated or damaged' in texts(report, 'warning')
    (voc / 'JPEGImages/t4.jpg').unlink()
    report = check_folder(voc)
    assert report.stops_training
    assert 'train: 2 of 30 images are broken' in texts(report, 'error')
    assert 't4.jpg does not exist' in texts(report, 'error')


def test_one_broken_validation_image_prevents_training(tmp_path):
    objects = [('cat', (11, 11, 41, 31))]
    val = {f'v{i}': objects for i in range(30)}
    write_voc_objects(tmp_path / 'dataset', dict(t0=objects), val)
    (tmp_path / 'dataset/JPEGImages/v3.jpg').write_bytes(b'')
    assert 'v3.jpg is empty' in texts(check_folder(tmp_path / 'dataset'), 'error')


def test_every_kind_of_broken_image_is_reported(tmp_path):
    sizes = faulty_images(tmp_path / 'images')
    entries = [
        dict(id=i, file_name=f'{name}.jpg', width=w, height=h)
        for i, (name, (w, h)) in enumerate(sizes.items())
    ]
    boxes = [
        dict(id=i, image_id=i, category_id=1, bbox=[0, 0, *wh])
        for i, wh in enumerate(sizes.values())
    ]
    data = dict(images=entries, annotations=boxes, categories=[dict(id=1, name='x')])
    (tmp_path / 'annotations').mkdir()
    for split in ('train', 'val'):
        (tmp_path / f'annotations/{split}.json').write_text(json.dumps(data))
    text = texts(check_folder(tmp_path), 'error')
    for name, problem in dict(
        truncated='is truncated or damaged',
        zero='is empty',
        text='cannot be read',
        missing='does not exist',
    ).items():
        assert f'{name}.jpg {problem}' in text
    assert 'sound.jpg' not in text


def test_boxes_that_are_left_out(voc):
    xml = voc / 'Annotations/t0.xml'
    text = xml.read_text()
    xml.write_text(text.replace('<xmax>41</xmax>', '<xmax>5</xmax>').replace('71', '-3'))
    report = check_folder(voc)
    assert not report.stops_training
    assert 'train: 2 boxes are dropped: 2 inverted' in texts(report, 'warning')
    assert 't0.xml: (11, 11, 5, 31) inverted' in texts(report, 'warning')
    assert report.stats['train'].boxes == dict(cat=29, dog=29)


def test_an_unreadable_annotation_prevents_training(voc):
    (voc / 'Annotations/t0.xml').write_text('<annotation>')
    (voc / 'Annotations/v0.xml').unlink()
    report = check_folder(voc)
    assert 't0.xml is not XML' in texts(report, 'error')
    assert 'v0.xml does not exist' in texts(report, 'error')
    assert '1 images have no annotation' in texts(report, 'warning')


def test_a_dataset_without_a_box_prevents_training(tmp_path):
    write_voc_objects(tmp_path / 'dataset', dict(a=[], b=[]), dict(c=[]))
    (tmp_path / 'dataset/classes.txt').write_text('cat\n')
    assert 'train: 2 images, 0 boxes' in texts(check_folder(tmp_path / 'dataset'), 'error')


def test_the_same_content_in_two_splits(voc):
    data = (voc / 'JPEGImages/t7.jpg').read_bytes()
    (voc / 'JPEGImages/v1.jpg').write_bytes(data)
    report = check_folder(voc)
    assert not report.stops_training
    found = texts(report, 'warning')
    assert '1 images are in more than one split' in found
    assert f'train: {voc}/JPEGImages/t7.jpg, val: {voc}/JPEGImages/v1.jpg' in found


def test_duplicates_within_one_split_are_not_reported(voc):
    paths = [voc / f'JPEGImages/{name}.jpg' for name in ('t7', 't8', 'v1')]
    first, other = paths[0].read_bytes(), paths[2].read_bytes()
    size = max(len(first), len(other))
    for path, data in zip(paths, (first, first, other), strict=True):
        path.write_bytes(data[:-2] + bytes(size - len(data)) + data[-2:])
    assert 'no image is in two splits' in texts(check_folder(voc), 'ok')


def test_masks_beside_boxes_are_checked_but_not_for_detection(voc):
    (voc / 'SegmentationClass').mkdir()
    for i in range(30):
        mask = Image.fromarray(np.full(SIZE[::-1], 9, np.uint8))
        mask.save(voc / f'SegmentationClass/t{i}.png')
    assert 'has the value 9' in texts(check_folder(voc), 'error')
    assert not check_folder(voc, task='det').stops_training


def test_a_test_split_without_labels_is_fine(voc):
    (voc / 'ImageSets/Main/test.txt').write_text('x0\nx1\n')
    for name in ('x0', 'x1'):
        (voc / f'JPEGImages/{name}.jpg').write_bytes(jpeg(smooth_pixels(*SIZE, seed=len(name))))
    report = check_folder(voc)
    assert not report.stops_training
    assert 'test: 2 images, 0 boxes' in texts(report, 'warning')
    xml = (voc / 'Annotations/t0.xml').read_text()
    (voc / 'Annotations/x0.xml').write_text(xml)
    assert 'x1.xml does not exist' in texts(check_folder(voc), 'error')


def test_annotated_images_in_no_split_list(voc):
    lists = voc / 'ImageSets/Main/train.txt'
    lists.write_text(lists.read_text().replace('t7\n', ''))
    assert '1 annotated image(s) are not in any split list, e.g. t7' in texts(
        check_folder(voc), 'warning'
    )


def test_a_byte_order_mark_prevents_training(voc):
    path = voc / 'ImageSets/Main/val.txt'
    path.write_text(path.read_text(), 'utf-8-sig')
    report = check_folder(voc)
    assert f'{path} begins with a byte order mark' in texts(report, 'error')
    assert report.stats['val'].images == 2


def test_counts_of_nothing():
    stats = count_split([], ('cat',), {}, {})
    assert (stats.images, stats.boxes, stats.areas, stats.pixels) == (0, dict(cat=0), {}, {})
    assert 'images' in describe(dict(train=stats))


@pytest.fixture
def config(sample_dataset, tmp_path):
    path = tmp_path / 'joint.py'
    cfg = Config.fromfile(ROOT / 'configs/ssdlite-deeplabv3_mbv2_sample.py')
    text = cfg.pretty_text.replace('data/sample/', f'{sample_dataset}/')
    path.write_text(f'{text}\nwork_dir = {str(tmp_path / "work")!r}\n')
    return path


def test_a_config_and_its_folder_give_the_same_counts(config, sample_dataset):
    of_config, of_folder = check_config(str(config)), check_folder(sample_dataset, task='both')
    assert not of_config.stops_training
    assert of_config.stats.keys() == {'train', 'val'}  # it tests on what it validates on
    for split, stats in of_config.stats.items():
        expected = of_folder.stats[split]
        assert (stats.images, stats.masks) == (expected.images, expected.masks)
        assert (stats.boxes, stats.areas) == (expected.boxes, expected.areas)


def run_check(*args):
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, str(ROOT / 'tools/data.py'), 'check', *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_the_tool_on_a_folder(voc, tmp_path):
    (voc / 'JPEGImages/v0.jpg').unlink()
    result = run_check(voc, '--json', tmp_path / 'out.json')
    assert result.returncode == 1, result.stderr
    assert 'v0.jpg does not exist' in result.stdout
    found = json.loads((tmp_path / 'out.json').read_text())
    assert found['stops_training']
    assert found['splits']['train']['boxes'] == dict(cat=30, dog=30)
    assert 'v0.jpg does not exist' in ' '.join(f['what'] for f in found['findings'])


def test_the_tool_on_a_config(config, sample_dataset):
    result = run_check(config)
    assert result.returncode == 0, result.stderr
    assert 'no image is in two splits' in result.stdout
    refused = run_check(config, '--task', 'seg')
    assert refused.returncode == 2
    assert 'are for folders' in refused.stderr
    text = config.read_text()
    config.write_text(text.replace(f'{sample_dataset}/', '/nowhere/'))
    result = run_check(config)
    assert result.returncode == 1
    assert 'MISSING /nowhere/annotations/train.json' in result.stdout
