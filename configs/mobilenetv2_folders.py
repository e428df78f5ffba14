# MobileNetV2 on images sorted by class, data/mine/train/CLASS/*.jpg and data/mine/val/CLASS/*.jpg,
# started from torchvision's ImageNet weights. `classes = None` takes the names of the folders.
# No published figure, as the images are the user's own.
# python tools/train.py configs/mobilenetv2_folders.py --cfg-options data_root=data/mine
_base_ = './_base_/mobilenetv2.py'
data_root = 'data/mine/'
data_help = 'Sort the images into data/mine/train/CLASS and data/mine/val/CLASS'
classes = None
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://mobilenet_v2')),
    head=dict(label_smoothing=0.1),
    mixup_alpha=0.0,
)
train_pipeline = [
    dict(type='LoadImageAsAnnotated'),
    dict(type='RandomResizedCrop', size=224, scale=(0.3, 1.0)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='ColourJitter', strength=0.3),
    dict(type='PackClassInputs'),
]
test_pipeline = [
    dict(type='LoadImageAsAnnotated'),
    dict(type='CentreView', size=224, resize=256),
    dict(type='PackClassInputs'),
]
folders = dict(type='ClassFolderDataset', data_root=data_root)
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline, **folders))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline, **folders))
test_dataloader = val_dataloader
max_epochs = 30
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
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
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(save_best='accuracy/top1'))
auto_scale_lr = dict(base_batch_size=32)
