# ssdlite_mmdet_bccd.py from the same pretrained weights as ablations/ssdlite_bccd_pretrained.py.
# python tools/train.py configs/baselines/ssdlite_mmdet_bccd_pretrained.py
_base_ = ['./ssdlite_mmdet_bccd.py']

model = dict(
    backbone=dict(
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='data/mobilenet_v2_oidv4.pth')
    ),
)
