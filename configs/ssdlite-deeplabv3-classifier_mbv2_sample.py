# ssdlite-deeplabv3_mbv2_sample.py with a third head that says what the whole image shows: here the
# class of its largest box. With classes of their own, list them in `image_classes`, and the images
# in a file that `LoadImageLabel(ann_file=…)` reads.
# No published figure, as the dataset is generated.
# python tools/data.py sample
# python tools/train.py configs/ssdlite-deeplabv3-classifier_mbv2_sample.py
_base_ = './ssdlite-deeplabv3_mbv2_sample.py'

model = dict(cls_head=dict(type='ClassifierHead', in_channels=1280, num_classes=4))
label = dict(type='LoadImageLabel')
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'gt_label')
with_masks = {{_base_.with_masks}}
train_pipeline = [
    dict(type='LoadImageFromFile'),
    label,
    with_masks,
    dict(type='Resize', scale={{_base_.size}}, keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction')),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    label,
    dict(type='Resize', scale={{_base_.size}}, keep_ratio=False),
    with_masks,
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(
        type='CocoMetric',
        ann_file='data/sample/annotations/val.json',
        metric='bbox',
        classwise=True,
    ),
    dict(type='JointIoUMetric'),
    dict(type='JointClassAccuracy'),
]
test_evaluator = val_evaluator
