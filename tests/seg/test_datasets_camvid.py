"""CamVid's label file: void is ignored; PNG and JPEG images both load."""

import numpy as np
import pytest
from helpers.paths import config_path
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.run import train

CONFIG = config_path('deeplabv3_mbv2_camvid')


def write_camvid(root, suffix):
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for folder in (split, f'{split}annot'):
            (root / folder).mkdir()
        for name in ('a', 'b'):
            image = rng.integers(256, size=(36, 48, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / split / f'{name}{suffix}')
            labels = np.arange(36 * 48).reshape(36, 48) % 12
            Image.fromarray(labels.astype(np.uint8)).save(root / f'{split}annot' / f'{name}.png')


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_void_is_ignored_and_the_other_labels_stay(suffix, request, tmp_path):
    write_camvid(tmp_path, suffix)
    path = request.config.rootpath / CONFIG
    cfg = load_config(str(path), [f'data_root={tmp_path}/'])
    init_default_scope('mmseg')
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    assert len(dataset) == 2
    labels = dataset[1]['data_samples'].gt_sem_seg.data[0].flatten()
    expected = np.arange(36 * 48) % 12
    assert np.array_equal(labels.numpy(), np.where(expected == 11, 255, expected))
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 11


def test_camvid_trains(request, tmp_path):
    write_camvid(tmp_path, '.jpg')
    options = [
        f'data_root={tmp_path}/', 'train_cfg.max_iters=2', 'train_dataloader.batch_size=1',
        'train_cfg.val_interval=2', 'model.backbone.widen_factor=0.25', 'crop_size=(33,49)',
        'model.data_preprocessor.size=(33,49)', 'model.decode_head.in_channels=80',
    ]  # fmt: skip
    train(
        str(request.config.rootpath / CONFIG), work_dir=str(tmp_path / 'work'), cfg_options=options
    )
    assert list((tmp_path / 'work').glob('best_mIoU_*.pth'))
