# DeepLabV3-MobileNetV2 on CamVid, 11 classes, 480x360, from scratch: an hour or two on two cores.
# No figure is published for this model and split; docs/accuracy.md has ours.
# python tools/train.py configs/deeplabv3_mbv2_camvid.py
_base_ = [
    './_base_/deeplabv3_mbv2.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_40k.py',
]
data_root = 'data/CamVid/'
data_help = 'Get it with: python tools/data.py fetch camvid (200 MB)'
classes = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign symbol', 'fence', 'car',
    'pedestrian', 'bicyclist',
)  # fmt: skip

crop_size = (369, 481)  # the images, and what makes them 16 k + 1 pixels
model = dict(
    data_preprocessor=dict(size=crop_size, test_cfg=dict(size=crop_size)),
    backbone=dict(
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ),
    decode_head=dict(num_classes=len(classes)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadLabelMap'),
    dict(
        type='RandomResizeCropFlip',
        scale=(480, 360),
        ratio_range=(0.75, 1.75),
        crop_size=crop_size,
    ),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='FastPackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
camvid = dict(type='CamVidDataset', data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
        pipeline=train_pipeline,
        **camvid,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        pipeline=test_pipeline,
        test_mode=True,
        **camvid,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

max_iters = 1840  # 40 passes over the images
train_cfg = dict(max_iters=max_iters, val_interval=460)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        begin=50,
        end=max_iters,
        T_max=max_iters - 50,
        eta_min_ratio=0.01,
        by_epoch=False,
    ),
]
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.002, weight_decay=0.05),
)
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=460, max_keep_ckpts=1, save_best='mIoU'),
)
custom_hooks = [
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.005, gamma=20, priority=49),
]
auto_scale_lr = dict(base_batch_size=8)
