# The segmentor of the sample dataset on the backbone of its detector: one checkpoint, both tasks.
# No published figure, as the dataset is generated; docs/training.md has ours.
# python tools/train.py configs/ssdlite_mbv2_sample.py &&
# python tools/train.py configs/deeplabv3_mbv2_sample_from-ssdlite.py
_base_ = './deeplabv3_mbv2_sample.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='work_dirs/ssdlite_mbv2_sample/epoch_20.pth',
        )
    )
)
