"""Write detection and joint configs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arch import build_architecture, make_divisible
from ...common.messages import UserError
from ..data.records import Dataset
from .code import Name
from .fitting import Priors, Schedule
from .initial_weights import InitialWeights
from .parts import HEAD, NECK, NORM, TAPS, epoch_loaders, epoch_schedule
from .paths import held_out_settings, one_suffix

_NECK_CHANNELS = 128
_MIN_NECK_CHANNELS = 48
_META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')


def det_settings(
    dataset: Dataset,
    priors: Priors,
    schedule: Schedule,
    *,
    size: int,
    width: float,
    weights: InitialWeights,
    class_weight: tuple[float, ...] | None = None,
) -> dict[str, Any]:
    """Return the settings of a config after its classes, in order.

    They describe a joint model if `class_weight` weights the classes of its masks, else a
    detector.
    """
    is_joint = class_weight is not None
    output_stride = 16 if is_joint else 32
    model = _model(priors, width=width, weights=weights, output_stride=output_stride)
    if is_joint:
        model['decode_head'] = dict(
            in_channels=build_architecture(width, round_to=weights.round_to)
            .taps['layer7']
            .channels,
            channels=make_divisible(256 * width),
            num_classes=Name('len(seg_classes)'),
            loss_decode=dict(type='mmseg.PixelCrossEntropyLoss', class_weight=class_weight),
        )
    settings = (
        (dict(seg_classes=dataset.mask_classes) if is_joint else {})
        | dict(size=(size, size), norm_cfg=NORM, model=model)
        | (dict(load_from=weights.address) if weights.has_head else {})
        | _pipelines(with_seg=is_joint)
        | _loaders(dataset, schedule)
        | _evaluators(dataset, [dict(type='JointIoUMetric')] if is_joint else [])
        | epoch_schedule(schedule, 'coco/bbox_mAP')
        | dict(custom_hooks=_hooks(is_joint=is_joint))
    )
    if is_joint:
        _add_masks(settings, dataset)
    return settings


def _model(
    priors: Priors, *, width: float, weights: InitialWeights, output_stride: int
) -> dict[str, Any]:
    known = build_architecture(width, round_to=weights.round_to).taps
    channels = max(_MIN_NECK_CHANNELS, make_divisible(_NECK_CHANNELS * width))
    if weights.detector:
        channels = weights.detector.channels
    network: dict[str, Any] = dict(widen_factor=width, out_indices=TAPS)
    neck_type, head_type, joint = {}, {}, {}  # of the plus recipe; a detector's base has them
    if output_stride == 16:
        network |= dict(out_indices=(*TAPS[:-1], 'layer7', TAPS[-1]), output_stride=16)
        neck_type = dict(_delete_=True, type=NECK)
        head_type = dict(type=HEAD)
        joint = dict(
            det_indices=(0, 1, 3),
            train_cfg=dict(assigner=dict(pos_iou_thr=0.5, neg_iou_thr=0.5)),
        )
    preprocessor = weights.preprocessor()
    return dict(
        **(dict(data_preprocessor=preprocessor) if preprocessor else {}),
        backbone=network | weights.backbone(Name('norm_cfg')),
        neck=neck_type
        | dict(
            in_channels=tuple(known[tap].channels for tap in TAPS),
            out_channels=channels,
            num_outs=len(priors.shapes),
            norm_cfg=Name('norm_cfg'),
        ),
        bbox_head=head_type
        | dict(
            in_channels=(channels,) * len(priors.shapes),
            num_classes=Name('len(classes)'),
            norm_cfg=Name('norm_cfg'),
            anchor_generator=dict(shapes=priors.shapes),
        ),
        **joint,
    )


def _pipelines(*, with_seg: bool) -> dict[str, Any]:
    load = dict(type='LoadAnnotations', with_bbox=True)
    if with_seg:
        load |= dict(with_seg=True, imdecode_backend='pillow')
    size = Name('size')
    resize = dict(type='Resize', scale=size, keep_ratio=False)
    train = [
        dict(type='LoadImageFromFile'),
        load,
        # Scales below and above the test scale.
        dict(type='RandomResize', scale=size, ratio_range=(0.75, 1.35), keep_ratio=False),
        dict(type='RandomCrop', crop_size=size, allow_negative_crop=True),
        dict(type='Pad', size=size, pad_val=dict(img=(114, 114, 114), seg=255)),
        dict(type='RandomFlip', prob=0.5),
        dict(type='FastPhotoMetricDistortion'),
        dict(type='PackDetInputs'),
    ]
    pack = dict(type='PackDetInputs', meta_keys=(*_META_KEYS, 'instances'))
    test = [dict(type='LoadImageFromFile'), resize, load, pack]
    return dict(train_pipeline=train, test_pipeline=test)


def _loaders(dataset: Dataset, schedule: Schedule) -> dict[str, Any]:
    kind = dict(coco='CheckedCocoDataset', voc='CheckedVOCDataset')[dataset.format]
    common = dict(type=kind, data_root=Name('data_root'), metainfo=dict(classes=Name('classes')))
    if dataset.format == 'voc':
        common['data_prefix'] = dict(sub_data_root='')
        if dataset.counts_from == 0:
            common['counts_from'] = 0
    return epoch_loaders(dataset, schedule, common, _files)


def _files(dataset: Dataset, split: str) -> dict[str, Any]:
    source = dataset.sources[split]
    files: dict[str, Any] = dict(ann_file=dataset.below(source.annotations))
    if dataset.format == 'coco':
        files['data_prefix'] = dict(img=dataset.below(source.images, is_folder=True))
    return files


def _add_masks(settings: dict[str, Any], dataset: Dataset) -> None:
    """Make the datasets of a joint config read the masks too, in place.

    Raises:
        UserError: If a mask is not where mmdet looks for it.
    """
    val, test = dataset.held_out
    suffix = one_suffix((item.mask for item in dataset.images if item.mask), 'masks')
    for loader, split in (('train', 'train'), ('val', val), ('test', test)):
        dataloader = settings[f'{loader}_dataloader']
        if isinstance(dataloader, Name):
            continue
        source = dataset.sources[split]
        for item in dataset.splits[split]:
            name = item.path.relative_to(source.images).with_suffix(suffix)
            if source.masks is None or item.mask != source.masks / name:
                raise UserError(
                    f'{item.path} has no mask of its name in {source.masks or dataset.root}; a '
                    f'joint model needs one for each image'
                )
        files = dataloader['dataset'].get('dataset', dataloader['dataset'])
        files['data_prefix']['seg'] = dataset.below(source.masks, is_folder=True)
    settings['images']['seg_map_suffix'] = suffix


def _evaluators(dataset: Dataset, others: Sequence[dict]) -> dict[str, Any]:
    def evaluators(split: str) -> Any:
        boxes = dict(type='CocoMetric', metric='bbox', classwise=True)
        if dataset.format == 'coco':
            path = dataset.below(dataset.sources[split].annotations)
            boxes['ann_file'] = Name(f'data_root + {path!r}')
        return [boxes, *others] if others else dict(_delete_=True) | boxes

    return held_out_settings(dataset.held_out, 'evaluator', evaluators)


def _hooks(*, is_joint: bool) -> list[dict]:
    hooks = [
        dict(type='NumClassCheckHook'),
        dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
        dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.003, priority=49),
    ]
    return hooks[1:] if is_joint else hooks  # NumClassCheckHook requires one count in all heads
