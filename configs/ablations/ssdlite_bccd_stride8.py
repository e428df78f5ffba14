# ssdlite_mbv2_bccd.py with one more map, of stride 8, and no top-down neck.
# python tools/train.py configs/ablations/ssdlite_bccd_stride8.py
_base_ = ['../ssdlite_mbv2_bccd.py']

in_channels = (192, 576, 1280, 256, 128)
model = dict(
    backbone=dict(out_indices=('layer4.expand', 'layer6.expand', 'conv2')),
    neck=dict(
        in_channels=in_channels[:3],
        out_channels=in_channels,
        level_strides=(2, 2),
        level_paddings=(1, 1),
    ),
    bbox_head=dict(
        in_channels=in_channels,
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
