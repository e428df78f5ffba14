"""Masks are found in the usual folders, and their values get names."""

import numpy as np
import pytest
from helpers.dataset import CLASSES, HEIGHT, NAMES, WIDTH, save_image, write_coco
from PIL import Image

from mbv2_backbone.workbench.data.find import find_dataset


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
    dataset = find_dataset(tmp_path, task='seg')
    assert dataset.format == 'masks'
    for split, names in NAMES.items():
        items = dataset.splits[split]
        assert [(item.path.stem, item.mask.stem) for item in items] == [(n, n) for n in names]
        assert all(item.mask.is_file() for item in items)


def test_masks_and_boxes_of_one_folder(sample_dataset):
    names = ('disc', 'square', 'triangle', 'star')
    both = find_dataset(sample_dataset, task='both')
    assert both.found == ('coco', 'voc', 'masks')
    assert (both.format, both.classes) == ('coco', names)
    assert both.mask_classes == ('background', *names)
    assert all(item.mask.is_file() for item in both.images)
    masks = find_dataset(sample_dataset, task='seg')
    assert (masks.format, masks.mask_classes) == ('masks', both.mask_classes)
    voc = find_dataset(sample_dataset, format_name='voc')
    records = {item.path.stem: item.record for item in both.images}
    for item in voc.images:
        # mmdet loses the last pixel of the 1-based corners of VOC.
        ours = np.reshape(records[item.path.stem].boxes, (-1, 4)) - [0, 0, 1, 1]
        np.testing.assert_array_equal(np.reshape(item.record.boxes, (-1, 4)), ours)


def test_the_classes_of_masks_beside_boxes(tmp_path):
    write_coco(tmp_path)
    (tmp_path / 'masks').mkdir()
    for name in 'abcde':
        mask = np.eye(HEIGHT, WIDTH, dtype=np.uint8)
        Image.fromarray(mask).save(tmp_path / f'masks/{name}.png')
    assert find_dataset(tmp_path, task='both').mask_classes == ('background', *CLASSES)
    (tmp_path / 'classes.txt').write_text('\n'.join(CLASSES), 'utf-8')
    assert find_dataset(tmp_path, task='both').mask_classes == ('background', *CLASSES)
    (tmp_path / 'classes.txt').write_text('floor\nwall\n')
    assert find_dataset(tmp_path, task='both').mask_classes == ('floor', 'wall')
    assert not any(item.mask for item in find_dataset(tmp_path, task='det').images)
