# deeplabv3_mbv2_camvid_plus.py from pretrained weights; docs/accuracy.md
# says which, and how to get them.
# python tools/train.py configs/ablations/deeplabv3_camvid_pretrained.py
_base_ = ['../deeplabv3_mbv2_camvid_plus.py']

model = dict(
    backbone=dict(
        norm_cfg=dict(type='BN', eps=0.001),
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='data/mobilenet_v2_oidv4.pth'),
    ),
)
