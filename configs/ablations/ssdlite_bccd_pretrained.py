# ssdlite_mbv2_bccd_plus.py from pretrained weights; docs/accuracy.md says
# which, and how to get them.
# python tools/train.py configs/ablations/ssdlite_bccd_pretrained.py
_base_ = ['../ssdlite_mbv2_bccd_plus.py']

model = dict(
    backbone=dict(
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='data/mobilenet_v2_oidv4.pth')
    ),
)
