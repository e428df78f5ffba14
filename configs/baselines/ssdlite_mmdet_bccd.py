# mmdet's SSDLite-MobileNetV2 from scratch as its users would adapt it to BCCD: its model, pipeline
# and SGD; its schedule at the length of configs/ssdlite_mbv2_bccd.py; its head fixed, as it cannot
# predict as shipped. BCCD's two zero-area boxes are dropped: they end its run with NaN.
# python tools/train.py configs/baselines/ssdlite_mmdet_bccd.py
# Its learning rate, 0.015 at batch 192, is 0.00125 at batch 16 by the linear rule. It gets 0.004,
# which is better here. The linear rule:
#     --cfg-options optim_wrapper.optimizer.lr=0.00125
_base_ = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'
custom_imports = dict(
    imports=['mbv2_backbone', 'mbv2_backbone.det', 'measure.speed.baselines'],
    allow_failed_imports=False,
)
data_root = 'data/BCCD/'
data_help = 'Get it with: python tools/data.py fetch bccd (8 MB)'
classes = ('RBC', 'WBC', 'Platelets')

model = dict(bbox_head=dict(type='FixedSSDHead', num_classes=len(classes)))

voc = dict(
    type='CheckedVOCDataset',
    data_root=data_root,
    data_prefix=dict(sub_data_root=''),
    metainfo=dict(classes=classes),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(
        times=4,
        dataset=dict(
            _delete_=True,
            ann_file='ImageSets/Main/train.txt',
            pipeline={{_base_.train_pipeline}},
            **voc,
        ),
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
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        eta_min=0,
        by_epoch=True,
        convert_to_iter_based=True,  # 600 passes fall in 120 steps there; 10 steps would be coarse
    ),
]
optim_wrapper = dict(optimizer=dict(lr=0.004))
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1, save_best='coco/bbox_mAP')
)
auto_scale_lr = dict(base_batch_size=16)
