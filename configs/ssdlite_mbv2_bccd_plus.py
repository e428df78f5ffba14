# ssdlite_mbv2_bccd.py with a top-down neck, a map of stride 8, quality focal loss and generalised
# IoU, and scales below and above the test scale instead of crops that only enlarge.
# No figure is published for this split; docs/accuracy.md has ours, and what each change brings.
# python tools/train.py configs/ssdlite_mbv2_bccd_plus.py
_base_ = ['./ablations/ssdlite_bccd_fpn_quality.py']

size = (320, 320)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=size, ratio_range=(0.75, 1.35), keep_ratio=False),
    dict(type='RandomCrop', crop_size=size, allow_negative_crop=True),
    dict(type='Pad', size=size, pad_val=dict(img=(114, 114, 114))),
    dict(type='RandomFlip', prob=[0.3, 0.2, 0.2], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
