# SSDLite-MobileNetV2 at half width on the generated sample dataset, 128 px: minutes on two cores.
# A third, finer feature map (stride 8) detects the small shapes; the priors fit their sizes.
# No published figure, as the dataset is generated; docs/training.md has ours.
# python tools/data.py sample && python tools/train.py configs/ssdlite_mbv2_sample.py
_base_ = ['./ssdlite_mbv2_coco.py']
data_root = 'data/sample/'
data_help = 'Draw it with: python tools/data.py sample'
classes = ('disc', 'square', 'triangle', 'star')
palette = [(220, 20, 60), (0, 130, 200), (60, 180, 75), (255, 200, 0)]

in_channels = (96, 288, 1280, 256, 128)
norm_cfg = dict(type='BN', eps=0.001, momentum=0.1)
model = dict(
    backbone=dict(
        widen_factor=0.5,
        out_indices=('layer4.expand', 'layer6.expand', 'conv2'),
        norm_cfg=norm_cfg,
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ),
    neck=dict(
        in_channels=in_channels[:3],
        out_channels=in_channels,
        level_strides=(2, 2),
        level_paddings=(1, 1),
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        num_classes=len(classes),
        in_channels=in_channels,
        norm_cfg=norm_cfg,
        anchor_generator=dict(
            shapes=[
                [(0.11, 0.11), (0.15, 0.15), (0.2, 0.2), (0.26, 0.26), (0.26, 0.17), (0.17, 0.26)],
                [(0.24, 0.24), (0.3, 0.3), (0.37, 0.37), (0.45, 0.45), (0.36, 0.25), (0.25, 0.36)],
                [(0.48, 0.48), (0.58, 0.58), (0.58, 0.4), (0.4, 0.58)],
                [(0.75, 0.75)],
                [(0.9, 0.9)],
            ]
        ),
    ),
    train_cfg=dict(assigner=dict(pos_iou_thr=0.45, neg_iou_thr=0.45)),
)

size = (128, 128)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomCrop',
        crop_size=(0.7, 0.7),
        crop_type='relative_range',
        allow_negative_crop=True,
    ),
    dict(type='Resize', scale=size, keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
coco = dict(
    type='CheckedCocoDataset',
    data_root=data_root,
    data_prefix=dict(img='JPEGImages/'),
    metainfo=dict(classes=classes, palette=palette),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(_delete_=True, ann_file='annotations/train.json', pipeline=train_pipeline, **coco),
)
val_dataloader = dict(
    batch_size=25,
    dataset=dict(
        _delete_=True,
        ann_file='annotations/val.json',
        pipeline=test_pipeline,
        test_mode=True,
        **coco,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json', classwise=True)
test_evaluator = val_evaluator

max_epochs = 20
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
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
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.003, weight_decay=0.01))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=10, max_keep_ckpts=1))
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.005, priority=49),
]
auto_scale_lr = dict(base_batch_size=16)
