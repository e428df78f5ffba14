# ssdlite_mbv2_bccd_plus.py with mosaics of four images in place of every second image.
# python tools/train.py configs/ablations/ssdlite_bccd_mosaic.py
_base_ = ['../ssdlite_mbv2_bccd_plus.py']

grey = 114
train_pipeline = [
    dict(type='Mosaic', img_scale=_base_.size, pad_val=grey, prob=0.5),
    dict(
        type='RandomAffine',
        max_rotate_degree=0,
        max_translate_ratio=0,
        scaling_ratio_range=(0.75, 1.35),
        max_shear_degree=0,
        border_val=(grey, grey, grey),
    ),
    dict(type='RandomCrop', crop_size=_base_.size, allow_negative_crop=True),
    dict(type='RandomFlip', prob=[0.3, 0.2, 0.2], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='MultiImageMixDataset',
            pipeline=train_pipeline,
            dataset=dict(
                ann_file='ImageSets/Main/train.txt',
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True),
                    dict(type='Resize', scale=_base_.size, keep_ratio=False),
                ],
                **_base_.voc,
            ),
        ),
    ),
)
