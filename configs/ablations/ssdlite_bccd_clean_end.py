# ssdlite_mbv2_bccd_plus.py without augmentation, except flips, in the last tenth.
# python tools/train.py configs/ablations/ssdlite_bccd_clean_end.py
_base_ = ['../ssdlite_mbv2_bccd_plus.py']

max_epochs = 40
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        ann_file='ImageSets/Main/train.txt',
        pipeline={{_base_.train_pipeline}},
        **_base_.voc,
    ),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs),
]
clean_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=_base_.size, keep_ratio=False),
    dict(type='RandomFlip', prob=[0.3, 0.2, 0.2], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='PipelineSwitchHook',
        switch_epoch=max_epochs * 9 // 10,
        switch_pipeline=clean_pipeline,
    ),
]
