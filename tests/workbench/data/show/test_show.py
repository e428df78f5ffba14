"""Sheets of folders and of configs, with and without augmentation."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.class_data import write_classes
from helpers.paths import ROOT
from helpers.show import PLAIN, TEAL, is_colour

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.show.show import distinct_colours, show


def config_for(folder, name, sample_dataset):
    """Write a config on the sample dataset; return its path and overrides."""
    path = folder / f'of_{name}'
    base = ROOT / 'configs' / name
    path.write_text(f"_base_ = '{base}'\n")
    root = sample_dataset / 'sample_crops' if name.startswith('mobilenetv2') else sample_dataset
    return str(path), [f'data_root={root}/']


CONFIGS = (
    'ssdlite_mbv2_sample.py',
    'deeplabv3_mbv2_sample.py',
    'ssdlite-deeplabv3_mbv2_sample.py',
    'mobilenetv2_sample.py',
)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_of_each_task(name, sample_dataset, tmp_path):
    config, overrides = config_for(tmp_path, name, sample_dataset)
    files = []
    for out, seed in (('a.png', 3), ('b.png', 3), ('c.png', 4)):
        size = show(config, str(tmp_path / out), num=3, seed=seed, overrides=overrides)
        files.append((tmp_path / out).read_bytes())
    assert files[0] == files[1] != files[2]
    sheet = cv2.imread(str(tmp_path / 'c.png'))
    assert sheet.shape[:2] == size
    columns = sheet[:, 18:].shape[1] // 4
    tiles = [sheet[60:500, 18 + i * columns : 18 + i * columns + 200] for i in range(4)]
    assert all((tiles[0] != tile).mean() > 0.05 for tile in tiles[1:]), 'nothing was augmented'


def test_a_folder_of_images_sorted_by_class_shows_their_classes(tmp_path):
    root = write_classes(tmp_path / 'photos', dict(blue=2, red=3), splits=('train',))
    show(str(root), str(tmp_path / 'a.png'), num=5)
    sheet = cv2.imread(str(tmp_path / 'a.png'))
    for colour in distinct_colours(2):
        assert is_colour(sheet, colour).sum() > 100


def test_val_is_shown_without_augmentation(sample_dataset, tmp_path):
    config, overrides = config_for(tmp_path, CONFIGS[0], sample_dataset)
    out = str(tmp_path / 'a.png')
    height, width = show(config, out, split='val', num=2, overrides=overrides)
    assert width > 2 * 480 > height
    with pytest.raises(UserError, match='other_dataloader'):
        show(config, out, split='other', overrides=overrides)


def augmented_boxes(pipeline, sample_dataset, tmp_path, seed=0):
    """Return the first image with a box as labelled and after a pipeline, as `show` draws them."""
    from mmengine.registry import DATASETS

    from mbv2_backbone.workbench.data.show import show_config

    config, overrides = config_for(tmp_path, CONFIGS[0], sample_dataset)
    cfg = show_config.load_config(config, overrides)
    cfg.train_dataloader.dataset.pipeline = pipeline
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    dataset.full_init()
    index = next(i for i in range(len(dataset)) if dataset.get_data_info(i)['instances'])
    info = dataset.get_data_info(index)
    raw = show_config._labelled(info, dataset)
    (drawn,) = show_config._augmented(dataset, index, 1, (seed, index), info['img_path'])
    return raw, drawn


def test_boxes_follow_the_augmentation(sample_dataset, tmp_path):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(192, 48), keep_ratio=False),
        dict(type='RandomFlip', prob=1.0),
        dict(type='PackDetInputs'),
    ]
    raw, drawn = augmented_boxes(pipeline, sample_dataset, tmp_path)
    assert raw.image.shape == (96, 96, 3)
    assert drawn.image.shape == (48, 192, 3)
    expected = cv2.resize(raw.image, (192, 48))[:, ::-1]
    assert np.abs(drawn.image.astype(int) - expected).mean() < 3
    for before, after in zip(raw.shapes, drawn.shapes, strict=True):
        x1, y1, x2, y2 = before.box
        np.testing.assert_allclose(
            after.box, (192 - 2 * x2, y1 / 2, 192 - 2 * x1, y2 / 2), atol=1e-3
        )
        assert before.label == after.label


def test_the_seed_determines_the_augmentation(sample_dataset, tmp_path):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomCrop', crop_size=(50, 50), allow_negative_crop=True),
        dict(type='PackDetInputs'),
    ]
    first, again, other = (
        augmented_boxes(pipeline, sample_dataset, tmp_path, seed)[1].image for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_pipeline_that_rejects_everything(sample_dataset, tmp_path):
    config, overrides = config_for(tmp_path, CONFIGS[0], sample_dataset)
    crop = "dict(type='RandomCrop', crop_size=(1, 1), allow_negative_crop=False)"
    Path(config).write_text(
        Path(config).read_text()
        + "load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]\n"
        + f"train_pipeline = [*load, {crop}, dict(type='PackDetInputs')]\n"
        + 'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )
    with pytest.raises(UserError, match='rejected'):
        show(config, str(tmp_path / 'a.png'), num=24, overrides=overrides)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_folder(split, sample_dataset, tmp_path):
    for name, seed in (('a.png', 1), ('b.png', 1), ('c.png', 2)):
        show(str(sample_dataset), str(tmp_path / name), split=split, num=4, seed=seed)
    first, again, other = ((tmp_path / f'{name}.png').read_bytes() for name in 'abc')
    assert first == again != other


def test_a_folder_of_one_image(tmp_path):
    folder = tmp_path / 'dataset'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), PLAIN)
    (folder / 'a.json').write_text(
        '{"shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[50, 25], [100, 75]]}],'
        ' "imagePath": "a.png", "imageWidth": 200, "imageHeight": 100}'
    )
    show(str(folder), str(tmp_path / 'sheet.png'))
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    is_drawn = is_colour(sheet, distinct_colours(1)[0])
    top, left = np.argwhere(is_colour(sheet, TEAL)).min(0)
    tile = is_drawn[top : top + 240, left : left + 480]
    assert tile[60:180, 120].all()
    assert tile[60:180, 239].all()
    assert not tile[64:176, 124:236].any()
    assert not tile[:, 240:].any()


def test_a_folder_with_masks_alone(tmp_path):
    for folder, pixels in (('images', PLAIN), ('masks', np.ones((100, 200), np.uint8))):
        (tmp_path / 'dataset' / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'dataset' / folder / 'a.png'), pixels)
    (tmp_path / 'dataset' / 'classes.txt').write_text('background\nroad\n')
    show(str(tmp_path / 'dataset'), str(tmp_path / 'sheet.png'))
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    blended = sheet[len(sheet) // 2, 240]  # a long title makes the sheet wider than the image
    assert is_colour(sheet, blended[::-1]).sum() == 480 * 240
    expected = 0.55 * np.array(distinct_colours(2)[1]) + 0.45 * np.array(TEAL)
    np.testing.assert_allclose(blended[::-1], expected, atol=1)


def test_inputs_that_cannot_be_shown_are_reported(sample_dataset, tmp_path):
    out = str(tmp_path / 'a.png')
    with pytest.raises(UserError, match='train or val'):
        show(str(sample_dataset), out, split='other')
    with pytest.raises(UserError, match='is a folder'):
        show(str(sample_dataset), out, overrides=['a=1'])
    with pytest.raises(UserError, match='cannot write'):
        show(str(sample_dataset), str(tmp_path / 'no' / 'a.png'))
    with pytest.raises(UserError, match='found nothing at'):
        show(str(tmp_path / 'nothing'), out)


def test_the_tool(sample_dataset, tmp_path):
    out = tmp_path / 'sheet.png'
    command = [sys.executable, str(ROOT / 'tools' / 'data.py'), 'show', str(sample_dataset)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [*command, '--num', '2', '--out', str(out)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    height, width = cv2.imread(str(out)).shape[:2]
    assert f'wrote {out}, {width}x{height} pixels' in done.stdout
    assert '`show CONFIG` draws them after augmentation' in done.stdout
