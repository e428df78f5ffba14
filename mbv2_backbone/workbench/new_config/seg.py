"""Write segmentation configs."""

from __future__ import annotations

from typing import Any

from ...arch import build_architecture, make_divisible
from ..data.records import Dataset
from .code import Name
from .fitting import Schedule, padded
from .initial_weights import InitialWeights
from .parts import NORM, iter_schedule
from .paths import held_out_settings, one_suffix


def trained_classes(dataset: Dataset) -> tuple[str, ...]:
    """Return the mask classes without a void class at the end."""
    classes = dataset.mask_classes
    return classes[:-1] if len(classes) - 1 in dataset.void_classes else classes


def seg_settings(
    dataset: Dataset,
    schedule: Schedule,
    *,
    size_wh: tuple[int, int],
    class_weight: tuple[float, ...],
    width: float,
    weights: InitialWeights,
) -> dict[str, Any]:
    """Return the settings of a segmentor's config after its classes, in order."""
    return (
        _model(size_wh, class_weight, width=width, weights=weights)
        | _pipelines(dataset, size_wh)
        | _loaders(dataset, schedule)
        | dict(
            val_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
            test_evaluator=Name('val_evaluator'),
        )
        | iter_schedule(schedule, 'mIoU')
        | dict(
            custom_hooks=[
                dict(
                    type='EMAHook',
                    ema_type='MomentumAnnealingEMA',
                    momentum=0.005,
                    gamma=20,
                    priority=49,
                )
            ]
        )
    )


def _model(
    size_wh: tuple[int, int],
    class_weight: tuple[float, ...],
    *,
    width: float,
    weights: InitialWeights,
) -> dict[str, Any]:
    crop_size = padded(size_wh[1]), padded(size_wh[0])
    size = Name('crop_size')
    model = dict(
        data_preprocessor=dict(size=size, test_cfg=dict(size=size)) | weights.preprocessor(),
        backbone=dict(widen_factor=width) | weights.backbone(Name('norm_cfg')),
        decode_head=dict(
            in_channels=build_architecture(width, round_to=weights.round_to)
            .taps['layer7']
            .channels,
            channels=256 if weights.has_head else make_divisible(256 * width),
            num_classes=Name('len(classes)'),
            norm_cfg=dict(type='BN', eps=1e-5) if weights.has_head else Name('norm_cfg'),
            loss_decode=dict(type='PixelCrossEntropyLoss', class_weight=class_weight),
        ),
    )
    start = dict(load_from=weights.address) if weights.has_head else {}
    return dict(crop_size=crop_size, norm_cfg=NORM, model=model) | start


def _pipelines(dataset: Dataset, size_wh: tuple[int, int]) -> dict[str, Any]:
    load = dict(type='LoadLabelMap')
    if dataset.ignored_values:
        load['ignore'] = dataset.ignored_values
    scale = tuple(size_wh)
    train = [
        dict(type='LoadImageFromFile'),
        load,
        dict(
            type='RandomResizeCropFlip',
            scale=scale,
            ratio_range=(0.75, 1.75),
            crop_size=Name('crop_size'),
        ),
        dict(type='FastPhotoMetricDistortion'),
        dict(type='FastPackSegInputs'),
    ]
    test = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=scale, keep_ratio=True),
        load,
        dict(type='PackSegInputs'),
    ]
    return dict(train_pipeline=train, test_pipeline=test)


def _loaders(dataset: Dataset, schedule: Schedule) -> dict[str, Any]:
    common = dict(
        type='BaseSegDataset',
        data_root=Name('data_root'),
        img_suffix=one_suffix(item.path for item in dataset.images),
        **_mask_suffix(dataset),
        metainfo=dict(classes=Name('classes')),
    )
    if dataset.mask_palette:
        common['metainfo']['palette'] = dataset.mask_palette[: len(trained_classes(dataset))]
    loader = dict(num_workers=2, persistent_workers=True)
    settings = dict(
        images=common,
        train_dataloader=dict(
            batch_size=schedule.batch_size,
            **loader,
            sampler=dict(type='InfiniteSampler', shuffle=True),
            dataset=_dataset(dataset, 'train') | dict(pipeline=Name('train_pipeline')),
        ),
    )

    def held_out(split: str) -> dict[str, Any]:
        files = dict(pipeline=Name('test_pipeline'), test_mode=True)
        return dict(
            batch_size=max(1, schedule.batch_size // 2),
            **loader,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=_dataset(dataset, split) | files,
        )

    return settings | held_out_settings(dataset.held_out, 'dataloader', held_out)


def _mask_suffix(dataset: Dataset) -> dict[str, str]:
    suffix = one_suffix((item.mask for item in dataset.images if item.mask), 'masks')
    return {} if suffix == '.png' else {'seg_map_suffix': suffix}


def _dataset(dataset: Dataset, split: str) -> dict[str, Any]:
    source = dataset.sources[split]
    prefix = dict(
        img_path=dataset.below(source.images),
        seg_map_path=dataset.below(source.masks),
    )
    lists = {}
    if source.annotations:
        lists['ann_file'] = dataset.below(source.annotations)
    return lists | {'data_prefix': prefix, '': Name('images')}
