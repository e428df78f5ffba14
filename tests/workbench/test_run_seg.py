"""The tools on a segmentation config: mmseg's own head on our backbone."""

import json
import textwrap
from pathlib import Path
from shutil import copyfile

import cv2
import numpy as np
import pytest
import torch
from helpers.networks import randomise
from mmengine.registry import MODELS
from PIL import Image
from pycocotools import mask as coco_mask

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.checks.before_run import check_before_run, check_masks
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.data.sample.scenes import CLASSES, PALETTE
from mbv2_backbone.workbench.drawing.pixels import legend_strip
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.run import evaluate, train


@pytest.fixture(scope='module')
def seg(sample_dataset, tmp_path_factory):
    """An FCN, trained and then given random weights: config, checkpoint and data."""
    folder = tmp_path_factory.mktemp('seg')
    path = folder / 'fcn.py'
    path.write_text(
        textwrap.dedent(f"""
        _base_ = 'mmseg::_base_/default_runtime.py'
        custom_imports = dict(imports=['mbv2_backbone', 'mbv2_backbone.seg.datasets'])
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
            type='BaseSegDataset', data_root={str(sample_dataset)!r}, img_suffix='.jpg',
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
    # So briefly trained it would predict only background; random weights predict all classes.
    model = randomise(MODELS.build(load_config(str(path)).model), seed=4)
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    return str(path), str(folder / 'model.pth'), sample_dataset


NAMES = ('background', *CLASSES)
COLOURS = [(0, 0, 0), *PALETTE]


def slow_mask_iou(predicted, truth):
    """Return IoU and accuracy of each class in percent, from plain sets of pixels."""
    scores = {}
    for label, name in enumerate(NAMES):
        both = sum(
            int(((p == label) & (t == label)).sum()) for p, t in zip(predicted, truth, strict=True)
        )
        either = sum(
            int(((p == label) | (t == label)).sum()) for p, t in zip(predicted, truth, strict=True)
        )
        there = sum(int((t == label).sum()) for t in truth)
        scores |= {f'IoU/{name}': 100 * both / either} if either else {}
        scores |= {f'Acc/{name}': 100 * both / there} if there else {}
    return scores


def test_evaluate_reports_every_class_and_writes_masks_and_drawings(seg, tmp_path, capfd):
    config, checkpoint, sample_dataset = seg
    metrics = evaluate(
        config,
        checkpoint,
        work_dir=str(tmp_path / 'work'),
        out=str(tmp_path / 'masks'),
        show_dir=str(tmp_path / 'shown'),
    )
    masks = sorted((tmp_path / 'masks').rglob('*.png'))
    assert [mask.name for mask in masks] == [f'val_{i:05d}.png' for i in range(8)]
    predicted = [np.asarray(Image.open(mask)) for mask in masks]
    truth = [np.asarray(Image.open(sample_dataset / 'SegmentationClass' / m.name)) for m in masks]
    for mask in masks:
        assert Image.open(mask).mode == 'P'
        assert Image.open(mask).getpalette()[:15] == [v for colour in COLOURS for v in colour]
    assert len(np.unique(predicted)) == 5
    expected = slow_mask_iou(predicted, truth)
    assert {key: value for key, value in metrics.items() if '/' in key} == pytest.approx(
        expected, abs=0.006
    )
    ious = [value for key, value in expected.items() if key.startswith('IoU')]
    assert metrics['mIoU'] == pytest.approx(sum(ious) / len(ious), abs=0.006)

    table = [line for line in capfd.readouterr().out.splitlines() if line.startswith('|')]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in table]
    assert rows[0] == ['Class', 'IoU', 'Acc']
    assert [row[0] for row in rows[1:]] == list(NAMES)
    assert float(rows[1][1]) == pytest.approx(metrics['IoU/background'], abs=0.006)
    written = json.loads(next((tmp_path / 'work').glob('*/*.json')).read_text())
    assert written['IoU/background'] == metrics['IoU/background']

    drawn = sorted((tmp_path / 'shown').rglob('*'))
    assert [p.name for p in drawn] == [f'val_{i:05d}.jpg' for i in range(8)]
    height, width, _ = cv2.imread(str(drawn[0])).shape  # two panels, captions and a legend
    assert width > 2 * 96
    assert height > 96 + 20


def test_images_of_the_same_name_in_two_folders_stay_separate(seg, tmp_path):
    config, checkpoint, sample_dataset = seg
    for i, folder in enumerate(('a', 'b')):
        for kind, suffix in (('JPEGImages', 'jpg'), ('SegmentationClass', 'png')):
            (tmp_path / kind / folder).mkdir(parents=True)
            copyfile(
                sample_dataset / kind / f'val_0000{i}.{suffix}',
                tmp_path / kind / folder / f'x.{suffix}',
            )
    evaluate(
        config,
        checkpoint,
        work_dir=str(tmp_path / 'work'),
        out=str(tmp_path / 'masks'),
        show_dir=str(tmp_path / 'shown'),
        cfg_options=[f'test_dataloader.dataset.data_root={tmp_path}',
                     'test_dataloader.dataset.ann_file='],
    )  # fmt: skip
    for root, suffix in (('masks', 'png'), ('shown', 'jpg')):
        files = [path for path in (tmp_path / root).rglob('*') if path.is_file()]
        assert sorted(str(f.relative_to(tmp_path / root)) for f in files) == [
            f'a/x.{suffix}', f'b/x.{suffix}']  # fmt: skip
    assert len({(tmp_path / 'masks' / f / 'x.png').read_bytes() for f in 'ab'}) == 2


def recoded(sample_dataset, root, change):
    """Copy the sample dataset with masks by `change(name, labels)`; None leaves one out."""
    for folder in ('JPEGImages', 'ImageSets'):
        (root / folder).symlink_to(sample_dataset / folder)
    (root / 'SegmentationClass').mkdir(parents=True)
    for path in (sample_dataset / 'SegmentationClass').glob('*.png'):
        pixels = change(path.stem, np.array(Image.open(path)))
        if pixels is not None:
            Image.fromarray(pixels).save(root / 'SegmentationClass' / path.name)


def test_colours_give_the_metrics_of_indices(seg, tmp_path):
    config, checkpoint, sample_dataset = seg
    recoded(sample_dataset, tmp_path, lambda name, labels: np.array(COLOURS, np.uint8)[labels])
    data_root = f'test_dataloader.dataset.data_root={tmp_path}'
    expected = evaluate(config, checkpoint, work_dir=str(tmp_path / 'a'))
    with pytest.raises(UserError, match='8 of 8 masks cannot be used'):
        evaluate(config, checkpoint, work_dir=str(tmp_path / 'b'), cfg_options=[data_root])
    loader = 'test_dataloader.dataset.pipeline.2.type=LoadLabelMap'
    metrics = evaluate(
        config, checkpoint, work_dir=str(tmp_path / 'b'), cfg_options=[data_root, loader]
    )
    assert metrics == expected


def test_wrong_masks_are_refused_before_training(seg, tmp_path, monkeypatch):
    def spoil(name, labels):
        if name == 'train_00003':
            labels[0, :7] = 9
        if name == 'train_00005':
            labels = labels[:-1]
        return labels if name != 'val_00002' else None

    recoded(seg[2], tmp_path, spoil)
    work_dir = str(tmp_path / 'work')
    options = [f'{split}_dataloader.dataset.data_root={tmp_path}' for split in ('train', 'val')]
    with pytest.raises(UserError) as error:
        train(seg[0], work_dir=work_dir, cfg_options=options)
    text = str(error.value)
    assert '3 of 32 masks' in text
    assert 'train_00003.png has the value 9 on 7 pixels; the classes are 0-4, and 255 is' in text
    assert 'train_00005.png is 96x95 pixels, but its image is 96x96' in text
    assert 'val_00002.png does not exist' in text

    cfg = load_config(seg[0], [*options, f'work_dir={work_dir}'])
    monkeypatch.setenv('RANK', '1')
    check_before_run(cfg, summarise(cfg), ('train',), launcher='pytorch')
    monkeypatch.setenv('RANK', '0')
    with pytest.raises(UserError, match='2 of 24 masks'):
        check_before_run(cfg, summarise(cfg), ('train',), launcher='pytorch')
    cfg.check_masks = False
    check_masks(cfg, summarise(cfg), ('train',))


def test_pipelines_that_lose_labels_are_refused(seg, tmp_path):
    def check(*options):
        cfg = load_config(seg[0], [f'work_dir={tmp_path}', *options])
        check_masks(cfg, summarise(cfg), ('train', 'val'))

    check()
    with pytest.raises(UserError, match='reduce_zero_label=True makes 0'):
        check('train_dataloader.dataset.reduce_zero_label=True')
    with pytest.raises(UserError, match=r'val_evaluator\.ignore_index=4'):
        check('val_evaluator.ignore_index=4')
    with pytest.raises(UserError, match='finds no image'):
        check('train_dataloader.dataset.img_suffix=.bmp', 'train_dataloader.dataset.ann_file=')


def test_a_video_legend_has_all_classes_so_that_frames_have_one_size(seg, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / 'film.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 5, (128, 96)
    )
    for frame in np.random.default_rng(3).integers(0, 255, (4, 96, 128, 3)).astype(np.uint8):
        writer.write(frame)
    writer.release()
    background_only = str(Path(seg[1]).parent / 'work' / 'iter_12.pth')
    summary = predict(
        seg[0], background_only, [str(tmp_path / 'film.mp4')], out=str(tmp_path / 'out')
    )
    assert summary.num_images == 4
    rows = json.loads(Path(summary.predictions).read_text())
    assert len({row['category_name'] for row in rows}) < 5
    film = cv2.VideoCapture(str(tmp_path / 'out' / 'film.mp4'))
    legend = legend_strip(list(zip(NAMES, COLOURS, strict=True)), 128, (96, 128))
    for _ in range(4):
        assert film.read()[1].shape == (96 + legend.shape[0], 128, 3)
    assert not film.read()[0]


def test_predict_writes_palette_masks_and_run_lengths_that_agree(seg, tmp_path):
    config, checkpoint, sample_dataset = seg
    paths = [str(p) for p in sorted((sample_dataset / 'JPEGImages').glob('val_*.jpg'))[:3]]
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
        height, width, _ = cv2.imread(str(tmp_path / f'{name}.jpg')).shape
        assert (height > 96, width) == (True, 96)  # the legend is below


def test_a_class_count_that_differs_is_named(seg, tmp_path):
    options = ['classes=None', 'model.decode_head.num_classes=3',
               'train_dataloader.dataset.metainfo.classes=("a","b")']  # fmt: skip
    with pytest.raises(UserError, match='predicts 3 classes'):
        train(seg[0], work_dir=str(tmp_path), cfg_options=options)
