# SSDLite-MobileNetV2 on Pascal VOC, trained on 2007 and 2012 trainval, tested on 2007 test.
# Published (qfgaohao/pytorch-ssd and lufficc/SSD, on ImageNet weights): 68.6 to 68.9 mAP.
# python tools/train.py configs/ssdlite_mbv2_voc0712.py
_base_ = ['./ssdlite_mbv2_coco.py']
data_root = 'data/VOCdevkit/'
data_help = """Get it with: python tools/data.py fetch voc2007 (1 GB) and
python tools/data.py fetch voc2012 (2 GB)"""

model = dict(
    backbone=dict(
        norm_cfg=dict(eps=1e-5),  # that of the weights
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='torchvision://mobilenet_v2'),
    ),
    bbox_head=dict(num_classes=20),
)

voc2007 = dict(
    type='CheckedVOCDataset', data_root=data_root, data_prefix=dict(sub_data_root='VOC2007/')
)
voc2012 = dict(
    type='CheckedVOCDataset', data_root=data_root, data_prefix=dict(sub_data_root='VOC2012/')
)
to_train = dict(
    filter_cfg=dict(filter_empty_gt=True, min_size=32), pipeline={{_base_.train_pipeline}}
)
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=5,
        dataset=dict(
            type='ConcatDataset',
            ignore_keys=['dataset_type'],
            datasets=[
                dict(ann_file='VOC2007/ImageSets/Main/trainval.txt', **voc2007, **to_train),
                dict(ann_file='VOC2012/ImageSets/Main/trainval.txt', **voc2012, **to_train),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(
        _delete_=True,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        pipeline={{_base_.test_pipeline}},
        test_mode=True,
        **voc2007,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP', eval_mode='11points')
test_evaluator = val_evaluator

max_epochs = 48  # of five passes over the images each
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', begin=0, T_max=max_epochs, end=max_epochs, by_epoch=True),
]
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=32)
