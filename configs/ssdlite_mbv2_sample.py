# SSDLite-MobileNetV2 at half width on the generated sample set, 192 px: minutes on two cores.
# A third, finer feature map (stride 8) takes the small shapes.
# No figure is published for a set of our own; what we measured stands in the README.
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
        anchor_generator=dict(num_levels=5, scale_range=(0.16, 0.85)),
    ),
)

size = (192, 192)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='MinIoURandomCrop', min_ious=(0.5, 0.7, 0.9), min_crop_size=0.5),
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
    batch_size=24,
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

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=8)
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
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.003, weight_decay=0.05))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=8, max_keep_ckpts=1))
auto_scale_lr = dict(base_batch_size=24)
