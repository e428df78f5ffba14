"""Write classification configs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...arch import build_architecture
from ..data.records import Dataset
from .code import Name
from .fitting import Schedule
from .initial_weights import InitialWeights
from .parts import NORM, epoch_loaders, epoch_schedule

_TRAINED_LR = 0.5  # of that from scratch


def cls_settings(
    dataset: Dataset, schedule: Schedule, *, size: int, width: float, weights: InitialWeights
) -> dict[str, Any]:
    """Return the settings of a classifier's config after its classes, in order."""
    preprocessor = weights.preprocessor()
    channels = build_architecture(width, round_to=weights.round_to).taps['conv2'].channels
    model = dict(
        **(dict(data_preprocessor=preprocessor) if preprocessor else {}),
        backbone=dict(widen_factor=width) | weights.backbone(Name('norm_cfg')),
        head=dict(in_channels=channels, num_classes=Name('len(classes)')),
    )
    if weights.address is not None:
        schedule = replace(schedule, lr=schedule.lr * _TRAINED_LR)
    ema = dict(
        type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.005, gamma=20, priority=49
    )
    return (
        dict(norm_cfg=NORM, model=model)
        | _pipelines(size)
        | _loaders(dataset, schedule)
        | epoch_schedule(schedule, 'accuracy/top1')
        | dict(custom_hooks=[ema])
    )


def _pipelines(size: int) -> dict[str, Any]:
    load, pack = dict(type='LoadImageAsAnnotated'), dict(type='PackClassInputs')
    train = [
        load,
        dict(type='RandomResizedCrop', size=size, scale=(0.3, 1.0)),
        dict(type='RandomFlip', prob=0.5),
        dict(type='ColourJitter', strength=0.3),
        pack,
    ]
    view = dict(type='CentreView', size=size, resize=round(size * 8 / 7))  # 256 for 224
    return dict(train_pipeline=train, test_pipeline=[load, view, pack])


def _loaders(dataset: Dataset, schedule: Schedule) -> dict[str, Any]:
    common = dict(
        type='ClassFolderDataset',
        data_root=Name('data_root'),
        metainfo=dict(classes=Name('classes')),
    )
    return epoch_loaders(dataset, schedule, common, _files, num_workers=2)


def _files(dataset: Dataset, split: str) -> dict[str, Any]:
    source = dataset.sources[split]
    lists = dict(ann_file=dataset.below(source.annotations)) if source.annotations else {}
    return lists | dict(data_prefix=dict(img_path=dataset.below(source.images)))
