# The detector of the sample dataset on the backbone of its segmentor, which ends before `conv2`:
# strict=False leaves that one layer as it was initialised, and anything else missing is refused.
# No published figure, as the dataset is generated; docs/training.md has ours.
# python tools/train.py configs/deeplabv3_mbv2_sample.py &&
# python tools/train.py configs/ssdlite_mbv2_sample_from-deeplabv3.py
_base_ = './ssdlite_mbv2_sample.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='work_dirs/deeplabv3_mbv2_sample/iter_850.pth',
            strict=False,
        )
    )
)
