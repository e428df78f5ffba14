# MobileNetV2 on ImageNet-1k: data/imagenet/train/n01440764/*.JPEG, and val in the same folders.
# Published: 72.0 top-1 (paper, table 4), 71.878 (torchvision's IMAGENET1K_V1, this recipe: 300
# epochs, 32 images on each of 8 GPUs). docs/weights.md lists the weights that load.
# python tools/train.py configs/mobilenetv2_in1k.py --auto-scale-lr
# python tools/test.py configs/mobilenetv2_in1k.py torchvision://mobilenet_v2
_base_ = './_base_/mobilenetv2.py'
data_root = 'data/imagenet/'
data_help = (
    'Get ImageNet (ILSVRC2012) from image-net.org, and unpack the archive of each class, and the '
    'validation images, into folders by class: data/imagenet/train/n01440764, '
    'data/imagenet/val/n01440764'
)
train_pipeline = [
    dict(type='LoadImageAsAnnotated'),
    dict(type='RandomResizedCrop', size=224),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackClassInputs'),
]
test_pipeline = [
    dict(type='LoadImageAsAnnotated'),
    dict(type='CentreView', size=224, resize=256),
    dict(type='PackClassInputs'),
]
imagenet = dict(type='ImageNetFolderDataset', data_root=data_root)
train_dataloader = dict(
    batch_size=32, num_workers=8, dataset=dict(pipeline=train_pipeline, **imagenet)
)
val_dataloader = dict(
    batch_size=64, num_workers=8, dataset=dict(pipeline=test_pipeline, **imagenet)
)
test_dataloader = val_dataloader
max_epochs = 300
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
param_scheduler = [dict(type='StepLR', step_size=1, gamma=0.98, by_epoch=True, end=max_epochs)]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.045, momentum=0.9, weight_decay=4e-5),
)
default_hooks = dict(logger=dict(interval=100), checkpoint=dict(save_best='accuracy/top1'))
auto_scale_lr = dict(base_batch_size=256)
