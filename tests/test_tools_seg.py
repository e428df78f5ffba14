"""The tools on a segmentation config: mmseg's own head on our backbone."""

import json
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mbv2_backbone.data.scenes import CLASSES, PALETTE
from mbv2_backbone.engine.predict import predict
from mbv2_backbone.engine.run import evaluate, train
from mbv2_backbone.errors import UserError


@pytest.fixture(scope='module')
def seg(sample_set, tmp_path_factory):
    """A trained FCN: its config, checkpoint and data."""
    folder = tmp_path_factory.mktemp('seg')
    path = folder / 'fcn.py'
    path.write_text(
        textwrap.dedent(f"""
        _base_ = 'mmseg::_base_/default_runtime.py'
        custom_imports = dict(imports=['mbv2_backbone'])
        classes = ('background', *{CLASSES!r})
        palette = [(0, 0, 0), *{PALETTE!r}]
        norm_cfg = dict(type='BN')
        model = dict(
            type='EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375], bgr_to_rgb=True, size=(96, 96), seg_pad_val=255),
            backbone=dict(
                type='MobileNetV2Backbone', widen_factor=0.25, out_indices=('layer3', 'layer5'),
                output_stride=16),
            decode_head=dict(
                type='FCNHead', in_channels=24, in_index=1, channels=16, num_convs=1,
                num_classes=5, norm_cfg=norm_cfg),
            test_cfg=dict(mode='whole'))
        load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
        data = dict(
            type='BaseSegDataset', data_root={str(sample_set)!r}, img_suffix='.jpg',
            seg_map_suffix='.png',
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'))
        train_dataloader = dict(
            batch_size=8, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
            dataset=dict(ann_file='ImageSets/Segmentation/train.txt',
                         pipeline=[*load, dict(type='PackSegInputs')], **data))
        val_dataloader = dict(
            batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(ann_file='ImageSets/Segmentation/val.txt', test_mode=True,
                         pipeline=[load[0], dict(type='Resize', scale=(96, 96)), load[1],
                                   dict(type='PackSegInputs')], **data))
        test_dataloader = val_dataloader
        val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
        test_evaluator = val_evaluator
        optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3))
        train_cfg = dict(type='IterBasedTrainLoop', max_iters=12, val_interval=12)
        val_cfg = dict(type='ValLoop')
        test_cfg = dict(type='TestLoop')
        default_hooks = dict(
            logger=dict(type='LoggerHook', interval=4, log_metric_by_epoch=False),
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=12),
            visualization=dict(type='SegVisualizationHook'))
        """)
    )
    work_dir = folder / 'work'
    train(str(path), work_dir=str(work_dir))
    return str(path), str(work_dir / 'iter_12.pth'), sample_set


def test_evaluate_writes_masks_and_pictures(seg, tmp_path):
    config, checkpoint, _ = seg
    metrics = evaluate(
        config,
        checkpoint,
        work_dir=str(tmp_path / 'work'),
        out=str(tmp_path / 'masks'),
        show_dir=str(tmp_path / 'shown'),
    )
    assert 0 <= metrics['mIoU'] <= 100
    assert len(list((tmp_path / 'masks').glob('*.png'))) == 8
    assert len([*(tmp_path / 'shown').rglob('*.png'), *(tmp_path / 'shown').rglob('*.jpg')]) == 8


def test_predict_writes_palette_masks_and_run_lengths_that_agree(seg, tmp_path):
    config, checkpoint, sample_set = seg
    paths = [str(p) for p in sorted((sample_set / 'JPEGImages').glob('val_*.jpg'))[:3]]
    summary = predict(config, checkpoint, paths, out=str(tmp_path))
    rows = json.loads(Path(summary.predictions).read_text())
    assert summary.num_images == 3
    for path in paths:
        name = Path(path).stem
        mask = Image.open(tmp_path / 'masks' / f'{name}.png')
        labels = np.asarray(mask)
        assert mask.mode == 'P'
        assert labels.shape == (96, 96)
        assert mask.getpalette()[3:15] == [v for colour in PALETTE for v in colour]
        again = np.full_like(labels, 255)
        for row in rows:
            if row['file_name'] == path:
                assert row['category_name'] == ('background', *CLASSES)[row['category_id'] - 1]
                again[coco_mask.decode(row['segmentation']) > 0] = row['category_id'] - 1
        assert np.array_equal(again, labels)
        assert cv2.imread(str(tmp_path / f'{name}.jpg')).shape == (96, 96, 3)


def test_a_class_count_that_differs_is_named(seg, tmp_path):
    options = ['classes=None', 'model.decode_head.num_classes=3',
               'train_dataloader.dataset.metainfo.classes=("a","b")']  # fmt: skip
    with pytest.raises(UserError, match='predicts 3 classes'):
        train(seg[0], work_dir=str(tmp_path), cfg_options=options)
