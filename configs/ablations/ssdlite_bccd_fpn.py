# ssdlite_mbv2_bccd.py with a top-down neck and a map of stride 8, trained as before.
# python tools/train.py configs/ablations/ssdlite_bccd_fpn.py
_base_ = ['../ssdlite_mbv2_bccd.py']

channels = 128
model = dict(
    backbone=dict(out_indices=('layer4.expand', 'layer6.expand', 'conv2')),
    neck=dict(
        _delete_=True,
        type='FPNLite',
        in_channels=(192, 576, 1280),
        out_channels=channels,
        num_outs=5,
        norm_cfg={{_base_.norm_cfg}},
    ),
    bbox_head=dict(
        in_channels=(channels,) * 5,
        anchor_generator=dict(
            shapes=[
                [(0.07, 0.07), (0.09, 0.09), (0.12, 0.12), (0.09, 0.13), (0.13, 0.09)],
                [(0.19, 0.19), (0.24, 0.24), (0.22, 0.16), (0.16, 0.22), (0.3, 0.3)],
                [(0.3, 0.3), (0.4, 0.4), (0.38, 0.28), (0.28, 0.38), (0.5, 0.5)],
                [(0.6, 0.6)],
                [(0.85, 0.85)],
            ]
        ),
    ),
)
