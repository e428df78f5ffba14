# mmseg's MobileNetV2-DeepLabV3 from scratch as its users would adapt it to CamVid: its model with
# BN instead of SyncBN, its augmentation at the size of the images, its SGD and polynomial schedule.
# python tools/train.py configs/baselines/deeplabv3_mmseg_camvid.py
# It has as many iterations as configs/deeplabv3_mbv2_camvid.py, which takes far less time. With the
# iterations that fit into that time, for example 400:
#     --cfg-options train_cfg.max_iters=400 train_cfg.val_interval=100 param_scheduler.0.end=400
_base_ = 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py'
custom_imports = dict(imports=['mbv2_backbone', 'mbv2_backbone.seg'], allow_failed_imports=False)
data_root = 'data/CamVid/'
data_help = 'Get it with: python tools/data.py fetch camvid (200 MB)'
classes = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign symbol', 'fence', 'car',
    'pedestrian', 'bicyclist',
)  # fmt: skip

norm_cfg = dict(type='BN', requires_grad=True)
crop_size = (360, 480)
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=crop_size, test_cfg=dict(size=crop_size)),
    backbone=dict(norm_cfg=norm_cfg),
    decode_head=dict(num_classes=len(classes), norm_cfg=norm_cfg),
    auxiliary_head=dict(num_classes=len(classes), norm_cfg=norm_cfg),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(480, 360), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(480, 360), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
camvid = dict(type='CamVidDataset', data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
        pipeline=train_pipeline,
        **camvid,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        pipeline=test_pipeline,
        test_mode=True,
        **camvid,
    ),
)
test_dataloader = val_dataloader

max_iters = 1840  # 40 passes over the images
train_cfg = dict(max_iters=max_iters, val_interval=230)
param_scheduler = [
    dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=max_iters, by_epoch=False)
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=230, max_keep_ckpts=1, save_best='mIoU'),
)
auto_scale_lr = dict(base_batch_size=8)
