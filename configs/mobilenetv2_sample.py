# MobileNetV2 at half width on the cut-out objects of the generated sample dataset, 64 px: minutes
# on two cores. No published figure, as the dataset is generated; docs/training.md has ours.
# python tools/data.py sample && python tools/train.py configs/mobilenetv2_sample.py
_base_ = './mobilenetv2_folders.py'
data_root = 'data/sample/sample_crops/'
data_help = 'Draw it with: python tools/data.py sample'
classes = ('disc', 'square', 'triangle', 'star')
palette = [(220, 20, 60), (0, 130, 200), (60, 180, 75), (255, 200, 0)]

model = dict(
    backbone=dict(
        widen_factor=0.5,
        norm_cfg=dict(type='BN', eps=0.001, momentum=0.1),
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ),
    head=dict(num_classes=len(classes), dropout_ratio=0.0),
)
train_pipeline = [
    dict(type='LoadImageAsAnnotated'),
    dict(type='RandomResizedCrop', size=64, scale=(0.6, 1.0)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='ColourJitter', strength=0.3),
    dict(type='PackClassInputs'),
]
test_pipeline = [
    dict(type='LoadImageAsAnnotated'),
    dict(type='CentreView', size=64, resize=64),
    dict(type='PackClassInputs'),
]
train_dataloader = dict(num_workers=2, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
max_epochs = 20
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
optim_wrapper = dict(optimizer=dict(lr=0.003))
custom_hooks = [
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.005, gamma=20, priority=49),
]
