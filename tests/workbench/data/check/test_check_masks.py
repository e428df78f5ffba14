"""Checking masks: their values, and masks that prevent training."""

from pathlib import Path

import numpy as np
import pytest
from helpers.check import SIZE, texts
from helpers.fault import jpeg, smooth_pixels
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.checks.mask_values import MaskFacts
from mbv2_backbone.workbench.data.check.check import check_folder
from mbv2_backbone.workbench.data.check.stats import count_split
from mbv2_backbone.workbench.data.records import Dataset, Record
from mbv2_backbone.workbench.new_config.write import Choices, write_config


def write_masks(root, *, classes='road\nsky\nvoid\n'):
    for split in ('train', 'val'):
        for folder in ('images', 'masks'):
            (root / folder / split).mkdir(parents=True)
        for i in range(2):
            name = f'{split}{i}'
            seed = i + 10 * (split == 'val')
            (root / f'images/{split}/{name}.jpg').write_bytes(jpeg(smooth_pixels(*SIZE, seed=seed)))
            mask = np.zeros(SIZE[::-1], np.uint8)
            mask[:30] = 1
            mask[0] = 2
            Image.fromarray(mask).save(root / f'masks/{split}/{name}.png')
    if classes:
        (root / 'classes.txt').write_text(classes)


def test_shares_of_pixels_without_the_void(tmp_path):
    write_masks(tmp_path)
    report = check_folder(tmp_path)
    assert not report.stops_training
    assert report.dataset.void_classes == [2]
    assert report.stats['val'].pixels == pytest.approx(dict(road=30 / 59, sky=29 / 59))


def test_values_without_a_class_name_are_numbered(tmp_path):
    write_masks(tmp_path, classes='')
    report = check_folder(tmp_path, task='seg')
    assert report.dataset.mask_classes == ('class_0', 'class_1', 'class_2')
    assert sum(report.stats['train'].pixels.values()) == pytest.approx(1)


def test_masks_that_prevent_training(tmp_path):
    write_masks(tmp_path)
    masks = tmp_path / 'masks/train'
    Image.fromarray(np.full(SIZE[::-1], 7, np.uint8)).save(masks / 'train0.png')
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(masks / 'train1.png')
    (tmp_path / 'masks/val/val1.png').unlink()
    report = check_folder(tmp_path, task='seg')
    text = texts(report, 'error')
    assert '3 of 4 masks cannot be used' in text
    assert 'train0.png has the value 7 on 4800 pixels' in text
    assert 'train1.png is 10x10 pixels, but its image is 80x60' in text
    assert 'val1.png does not exist' in text


def test_masks_of_black_and_white_only(tmp_path):
    write_masks(tmp_path, classes='background\nroad\n')
    for path in tmp_path.glob('masks/*/*.png'):
        Image.fromarray(np.eye(*SIZE[::-1], dtype=np.uint8) * 255).save(path)
    text = texts(check_folder(tmp_path), 'error')
    assert 'masks hold only 0 and 255, and 255 is ignored' in text
    assert 'save objects as 1' in text
    Image.fromarray(np.eye(*SIZE[::-1], dtype=np.uint8)).save(path)
    assert not check_folder(tmp_path).stops_training


def blurred():
    """255 inside, 0 outside and all values between at the edge, as of a resized mask."""
    x = np.clip((np.arange(SIZE[0]) - 10) * 5, 0, 255)
    return np.tile(x, (SIZE[1], 1))


GREY = {
    # VOC's colours (128, 0, 0), (0, 128, 0) and (128, 128, 0) as grey: yu-changqian/TorchSeg#65
    'colours read as grey': (np.array([0, 38, 75, 113]), 4, 114),
    'steps of 60': (np.arange(4) * 60, 4, 181),  # open-mmlab/mmsegmentation#1335
    'one class as 200': (np.array([0, 200]), 2, 201),
    'soft edges': (blurred()[0], 51, 251),
}


@pytest.mark.parametrize('kind', GREY)
def test_values_like_grey_levels_are_no_classes(kind, tmp_path):
    values, used, count = GREY[kind]
    write_masks(tmp_path, classes='')
    for path in tmp_path.glob('masks/*/*.png'):
        columns = values[np.arange(SIZE[0]) * len(values) // SIZE[0]]
        Image.fromarray(np.tile(columns.astype(np.uint8), (SIZE[1], 1))).save(path)
    text = texts(check_folder(tmp_path, task='seg'), 'warning')
    assert f'{used} different values from 0 to {count - 1}, like grey levels' in text
    assert 'nearest neighbour' in text
    new, choices = tmp_path / 'new.py', Choices(pretrained='none')
    with pytest.raises(UserError, match=f'That would make {count} classes'):
        write_config(tmp_path, 'seg', out=new, choices=choices)
    assert not new.exists()
    (tmp_path / 'classes.txt').write_text(''.join(f'c{i}\n' for i in range(count)))
    assert 'grey levels' not in str(check_folder(tmp_path, task='seg'))
    write_config(tmp_path, 'seg', out=new, choices=choices)
    assert f'c{count - 1}' in new.read_text()


@pytest.mark.parametrize('values', [[0, 1], [0, 3], [1, 2, 255], [15, *range(8)], range(21)])
def test_values_of_classes_are_not_taken_for_grey_levels(values, tmp_path):
    write_masks(tmp_path, classes='')
    for path in tmp_path.glob('masks/*/*.png'):
        Image.fromarray(np.resize(np.array(values, np.uint8), SIZE[::-1])).save(path)
    assert 'grey levels' not in str(check_folder(tmp_path, task='seg'))


def test_a_test_split_needs_no_masks(tmp_path):
    write_masks(tmp_path / 'a')
    root = tmp_path / 'voc'
    (root / 'ImageSets/Segmentation').mkdir(parents=True)
    for folder, kind in (('JPEGImages', 'images'), ('SegmentationClass', 'masks')):
        (root / folder).mkdir()
        for path in (tmp_path / 'a' / kind).glob('*/*'):
            path.rename(root / folder / path.name)
    for name, stems in dict(train='train0\ntrain1', val='val0', test='val1').items():
        (root / f'ImageSets/Segmentation/{name}.txt').write_text(stems)
    (root / 'SegmentationClass/val1.png').unlink()
    assert not check_folder(root).stops_training
    (root / 'SegmentationClass/val0.png').unlink()
    assert 'val0.png does not exist' in texts(check_folder(root), 'error')


def test_shares_of_indices_and_of_colours_add_up():
    facts = {
        Path('a.png'): MaskFacts(counts=(((1, 2, 3), 30), ((9, 9, 9), 70), ((5, 5, 5), 10))),
        Path('b.png'): MaskFacts(counts=((0, 50), (1, 50), (255, 10))),
    }
    records = [Record(Path('i.jpg'), SIZE, mask=path) for path in facts]
    dataset = Dataset(Path(), 'masks')
    dataset.mask_classes, dataset.mask_palette = ('road', 'sky'), ((1, 2, 3), (9, 9, 9))
    names = dataset.value_names
    assert count_split(records[:1], (), facts, names).pixels == dict(road=0.3, sky=0.7)
    assert count_split(records[1:], (), facts, names).pixels == dict(road=0.5, sky=0.5)
    assert count_split(records, (), facts, names).pixels == dict(road=0.4, sky=0.6)
