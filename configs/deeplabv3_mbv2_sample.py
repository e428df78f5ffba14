# DeepLabV3-MobileNetV2 at half width on the generated sample dataset: minutes on two cores.
# No published figure, as the dataset is generated; docs/training.md has ours.
# python tools/data.py sample && python tools/train.py configs/deeplabv3_mbv2_sample.py
_base_ = [
    './_base_/deeplabv3_mbv2.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_40k.py',
]
data_root = 'data/sample/'
data_help = 'Draw it with: python tools/data.py sample'
classes = ('background', 'disc', 'square', 'triangle', 'star')
palette = [(0, 0, 0), (220, 20, 60), (0, 130, 200), (60, 180, 75), (255, 200, 0)]

size = (145, 145)
norm_cfg = dict(type='BN', eps=0.001, momentum=0.1)
model = dict(
    data_preprocessor=dict(size=size, test_cfg=dict(size=size)),
    backbone=dict(
        widen_factor=0.5,
        norm_cfg=norm_cfg,
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ),
    decode_head=dict(
        in_channels=160,
        channels=128,
        num_classes=len(classes),
        norm_cfg=norm_cfg,
        dropout_ratio=0.0,
        loss_decode=dict(type='PixelCrossEntropyLoss', class_weight=(0.6, 1.0, 1.0, 1.0, 1.0)),
    ),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResizeCropFlip',
        scale=(144, 144),
        ratio_range=(1.0, 1.4),
        crop_size=size,
        cat_max_ratio=0.95,
    ),
    dict(type='FastPackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(144, 144), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
voc = dict(
    type='BaseSegDataset',
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    metainfo=dict(classes=classes, palette=palette),
)
train_dataloader = dict(
    batch_size=12,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(ann_file='ImageSets/Segmentation/train.txt', pipeline=train_pipeline, **voc),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file='ImageSets/Segmentation/val.txt', pipeline=test_pipeline, test_mode=True, **voc
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

max_iters = 850
train_cfg = dict(max_iters=max_iters, val_interval=425)
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
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.003, weight_decay=0.01))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=425, max_keep_ckpts=1))
custom_hooks = [
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.005, gamma=20, priority=49),
]
auto_scale_lr = dict(base_batch_size=12)
