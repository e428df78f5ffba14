"""Broken images in training: skipped and named, or refused before it starts."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.fault import LOAD, coco, coco_file, faulty_images, jpeg, smooth_pixels
from helpers.small import write_small_config
from mmengine.dataset import RepeatDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.checks.broken_images import BrokenImagesHook, ReplaceBrokenImages
from mbv2_backbone.workbench.run import train

BROKEN = {
    'truncated.jpg': 'is truncated or damaged',
    'zero.jpg': 'is empty',
    'text.jpg': 'cannot be read',
    'missing.jpg': 'does not exist',
}
UNUSUAL = {
    'gray.jpg': 'are grayscale, read as 8-bit colour',
    'cmyk.jpg': 'are CMYK, read as 8-bit colour',
    'png16.jpg': 'are 16-bit, read as 8-bit colour',
    'raw.jpg': 'are not rotated as their EXIF data says',
    'tiny.jpg': 'are less than 8 pixels wide or high',
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def faulty(sample_dataset, tmp_path_factory):
    """The sample dataset with faulty images, a crowded and an empty one, and a config for it."""
    folder = tmp_path_factory.mktemp('faulty')
    sizes = faulty_images(folder / 'images')
    rng = np.random.default_rng(0)
    for name in ('crowded', 'empty', 'breaks_later'):
        (folder / f'images/{name}.jpg').write_bytes(jpeg(smooth_pixels()))
        sizes[name] = (80, 60)
    boxes = dict(crowded=(rng.integers(1, 30, (1000, 4)) * [2, 1, 1, 1]).tolist(), empty=[])
    added = coco_file(sizes, boxes, first_id=10_000)
    data = json.loads((sample_dataset / 'annotations/train.json').read_text())
    for image in data['images']:
        image['file_name'] = str(sample_dataset / 'JPEGImages' / image['file_name'])
    for part in ('images', 'annotations'):
        data[part] += added[part]
    (folder / 'train.json').write_text(json.dumps(data))
    more = f"""
    train_dataloader['dataset'].update(
        data_root={str(folder)!r}, ann_file='train.json', data_prefix=dict(img='images'))
    train_cfg = dict(max_epochs=2, val_interval=9)
    default_hooks = dict(logger=dict(interval=1))
    plain = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(96, 96), keep_ratio=False),
        dict(type='PackDetInputs'),
    ]
    custom_hooks = [dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=plain)]
    """
    return folder, write_small_config(folder / 'config.py', sample_dataset, more)


def losses_of(work_dir):
    path = next(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line['loss'] for line in lines if 'loss' in line]


def test_training_survives_broken_images_and_names_them(faulty, tmp_path, monkeypatch):
    folder, config = faulty
    check = BrokenImagesHook.before_train

    def break_one_after_the_check(hook, runner):
        check(hook, runner)
        (folder / 'images/breaks_later.jpg').write_bytes(jpeg(smooth_pixels())[:-40])

    monkeypatch.setattr(BrokenImagesHook, 'before_train', break_one_after_the_check)
    train(str(config), work_dir=str(tmp_path), cfg_options=['max_broken_images=0.2'])
    losses = losses_of(tmp_path)
    assert len(losses) == 10  # 38 images in batches of 8, two epochs
    assert np.isfinite(losses).all()
    log = next(tmp_path.glob('*/*.log')).read_text()
    for name, problem in {**BROKEN, 'breaks_later.jpg': 'is truncated or damaged'}.items():
        path = str(folder / 'images' / name)
        assert log.count(f'{path} {problem}') == 1
        assert f'{path}\t{problem}' in (tmp_path / 'broken_images.txt').read_text()
    for name, note in UNUSUAL.items():
        line = next(line for line in log.splitlines() if note in line)
        assert name in line


def runner_with(dataset):
    """Return the part of a Runner that the hook uses, training and validating on one dataset."""
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    return SimpleNamespace(train_loop=loop, val_loop=loop, test_loop=loop)


def hook_for(folder, max_share):
    record = str(folder / 'broken_images.txt')
    return BrokenImagesHook(record=record, max_share=max_share, check_first=True)


def test_too_many_broken_images_are_refused_before_the_first_step(tmp_path):
    sizes = faulty_images(tmp_path)
    runner = runner_with(coco(tmp_path, coco_file(sizes)))
    with pytest.raises(UserError, match=r'4 of 11 training images .* max_broken_images=0.3'):
        hook_for(tmp_path, 0.3).before_train(runner)
    assert (tmp_path / 'broken_images.txt').read_text().count('\n') == 4


def test_a_broken_image_in_an_evaluation_is_refused(tmp_path):
    sizes = faulty_images(tmp_path)
    runner = runner_with(RepeatDataset(coco(tmp_path, coco_file(sizes)), 2))
    for start in ('before_train', 'before_test'):
        with pytest.raises(UserError, match='evaluation images are broken') as info:
            getattr(hook_for(tmp_path, 0.5), start)(runner)
        assert f'{tmp_path}/zero.jpg is empty' in str(info.value)


def test_too_many_broken_images_found_while_training_end_the_run(faulty, tmp_path):
    _, config = faulty
    with pytest.raises(UserError, match=r'of 38 training images .* max_broken_images=0.05'):
        train(str(config), work_dir=str(tmp_path), cfg_options=['check_images=False'])


def test_a_bug_in_the_pipeline_is_not_taken_for_a_broken_file(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(jpeg(smooth_pixels()))
    pipeline = ReplaceBrokenImages(
        steps=[LOAD, dict(type='LoadAnnotations', with_bbox=True)], record=str(tmp_path / 'record')
    )
    with pytest.raises(KeyError):
        pipeline(dict(img_path=str(tmp_path / 'a.jpg'), instances=[{}]))


def test_segmentation_takes_another_image_and_another_mask(tmp_path):
    init_default_scope('mmseg')
    for name in ('sound', 'no_image', 'no_mask'):
        (tmp_path / f'{name}.jpg').write_bytes(jpeg(smooth_pixels()))
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((60, 80), np.uint8))
    (tmp_path / 'no_image.jpg').write_bytes(jpeg(smooth_pixels())[:500])
    (tmp_path / 'no_mask.png').write_bytes(b'')
    (tmp_path / 'list.txt').write_text('no_image\nno_mask\nsound\n')
    steps = [LOAD, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    dataset = BaseSegDataset(
        data_root=str(tmp_path),
        ann_file='list.txt',
        data_prefix=dict(img_path='', seg_map_path=''),
        metainfo=dict(classes=('a', 'b')),
        pipeline=[
            dict(type='ReplaceBrokenImages', steps=steps, record=str(tmp_path / 'record.txt'))
        ],
    )
    for index in (0, 1, 2, 0, 1):
        path = dataset[index]['data_samples'].img_path
        assert path == str(tmp_path / 'sound.jpg')
    lines = (tmp_path / 'record.txt').read_text().splitlines()
    assert [Path(line.split('\t')[0]).name for line in lines] == ['no_image.jpg', 'no_mask.png']
