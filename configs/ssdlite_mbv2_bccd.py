# SSDLite-MobileNetV2 on BCCD: blood cells, 3 classes, 205 images to train on, 87 to validate,
# from scratch. The priors fit its three cell sizes; the first map also detects the platelets.
# No figure is published for this split; docs/training.md has ours.
# python tools/train.py configs/ssdlite_mbv2_bccd.py
_base_ = ['./ssdlite_mbv2_coco.py']
data_root = 'data/BCCD/'
data_help = 'Get it with: python tools/data.py fetch bccd (8 MB)'
classes = ('RBC', 'WBC', 'Platelets')

norm_cfg = dict(type='BN', eps=0.001, momentum=0.1)
model = dict(
    backbone=dict(
        norm_cfg=norm_cfg,
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ),
    neck=dict(norm_cfg=norm_cfg),
    bbox_head=dict(
        num_classes=len(classes),
        norm_cfg=norm_cfg,
        anchor_generator=dict(
            shapes=[
                [
                    (0.08, 0.08),
                    (0.11, 0.08),
                    (0.08, 0.11),
                    (0.19, 0.19),
                    (0.22, 0.16),
                    (0.16, 0.22),
                ],
                [(0.24, 0.24), (0.32, 0.32), (0.38, 0.28), (0.28, 0.38), (0.42, 0.42), (0.5, 0.5)],
                [(0.5, 0.5), (0.6, 0.45), (0.45, 0.6)],
                [(0.65, 0.65)],
                [(0.8, 0.8)],
                [(0.95, 0.95)],
            ]
        ),
    ),
)

voc = dict(
    type='CheckedVOCDataset',
    data_root=data_root,
    data_prefix=dict(sub_data_root=''),
    metainfo=dict(classes=classes, palette=[(220, 60, 60), (70, 90, 220), (240, 200, 40)]),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomCrop',
        crop_size=(0.5, 0.5),
        crop_type='relative_range',
        allow_negative_crop=True,
    ),
    dict(type='Resize', scale=(320, 320), keep_ratio=False),
    dict(type='RandomFlip', prob=[0.3, 0.2, 0.2], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=4,
        dataset=dict(ann_file='ImageSets/Main/train.txt', pipeline=train_pipeline, **voc),
    ),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 320), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
val_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        ann_file='ImageSets/Main/val.txt',
        pipeline=test_pipeline,
        test_mode=True,
        **voc,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='CocoMetric', metric='bbox', classwise=True)
test_evaluator = val_evaluator

max_epochs = 10  # of four passes over the images each
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        eta_min_ratio=0.01,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.002, weight_decay=0.05),
)
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1, save_best='coco/bbox_mAP')
)
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.003, priority=49),
]
auto_scale_lr = dict(base_batch_size=16)
