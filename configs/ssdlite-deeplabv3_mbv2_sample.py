# SSDLite and DeepLabV3 on one half-width MobileNetV2, trained jointly on the boxes and masks of the
# generated sample dataset; one backbone pass gives both.
# No published figure, as the dataset is generated; docs/training.md has ours.
# python tools/data.py sample && python tools/train.py configs/ssdlite-deeplabv3_mbv2_sample.py
_base_ = './ssdlite_mbv2_sample.py'
custom_imports = dict(
    imports=['mbv2_backbone.det', 'mbv2_backbone.seg', 'mbv2_backbone.joint'],
    allow_failed_imports=False,
)
# The masks have the classes of the boxes after a background, unless `seg_classes` says otherwise.

model = dict(
    type='JointModel',
    data_preprocessor=dict(pad_seg=True, seg_pad_value=255),
    backbone=dict(
        out_indices=('layer4.expand', 'layer6.expand', 'layer7', 'conv2'), output_stride=16
    ),
    det_indices=(0, 1, 3),
    decode_head=dict(
        type='mmseg.DeepLabV3Head',
        in_channels=160,
        in_index=2,
        channels=128,
        num_classes=5,
        output_stride=16,
        align_corners=False,
        dropout_ratio=0.0,
        norm_cfg=dict(type='BN', eps=0.001, momentum=0.1),
    ),
)

with_masks = dict(type='LoadAnnotations', with_bbox=True, with_seg=True, imdecode_backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    with_masks,
    dict(
        type='RandomCrop',
        crop_size=(0.7, 0.7),
        crop_type='relative_range',
        allow_negative_crop=True,
    ),
    dict(type='Resize', scale={{_base_.size}}, keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale={{_base_.size}}, keep_ratio=False),
    with_masks,
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
masks = dict(
    data_prefix=dict(seg='SegmentationClass/'),
    seg_map_suffix='.png',
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **masks))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **masks))
test_dataloader = val_dataloader
val_evaluator = [
    dict(
        type='CocoMetric',
        ann_file={{_base_.val_evaluator.ann_file}},
        metric='bbox',
        classwise=True,
    ),
    dict(type='JointIoUMetric'),
]
test_evaluator = val_evaluator
# mmdet's NumClassCheckHook wants one class count in all heads; our tools check each head.
custom_hooks = [
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.005, priority=49),
]
