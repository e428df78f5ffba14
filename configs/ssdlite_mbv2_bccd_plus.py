# ssdlite_mbv2_bccd.py with a top-down neck, a map of stride 8 and task-aligned training.
# No figure is published for this split; what we measured stands in docs/accuracy.md.
# python tools/train.py configs/ssdlite_mbv2_bccd_plus.py
_base_ = ['./ssdlite_mbv2_bccd.py']

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
        type='AlignedSSDLiteHead',
        in_channels=(channels,) * 5,
        anchor_generator=dict(
            shapes=[
                [(0.08, 0.08), (0.12, 0.12)],
                [(0.19, 0.19), (0.25, 0.25)],
                [(0.32, 0.32), (0.42, 0.42)],
                [(0.5, 0.5), (0.65, 0.65)],
                [(0.8, 0.8), (0.95, 0.95)],
            ]
        ),
    ),
    train_cfg=dict(_delete_=True, assigner=dict(type='TaskAlignedAssigner', topk=13)),
)
