# SSDLite-MobileNetV2 on COCO, more out of the same size: a top-down neck with a map of stride 8 and
# task-aligned training. 2.8 M params, 0.87 B MAdds; the paper's layout has 4.3 M and 0.82 B.
# Published: nothing for this recipe; what it brings on small sets stands in docs/accuracy.md.
# torchrun --nproc_per_node=8 tools/train.py configs/ssdlite_mbv2_coco_plus.py --launcher pytorch
_base_ = ['./ssdlite_mbv2_coco.py']

channels = 160
model = dict(
    backbone=dict(out_indices=('layer4.expand', 'layer6.expand', 'conv2')),
    neck=dict(
        _delete_=True,
        type='FPNLite',
        in_channels=(192, 576, 1280),
        out_channels=channels,
        num_outs=5,
        norm_cfg={{_base_.model.neck.norm_cfg}},
    ),
    bbox_head=dict(
        type='AlignedSSDLiteHead',
        in_channels=(channels,) * 5,
        anchor_generator=dict(
            # Two squares a cell, from 3 to 6 strides; matching is by what they predict.
            shapes=[
                [(0.075, 0.075), (0.11, 0.11)],
                [(0.15, 0.15), (0.22, 0.22)],
                [(0.3, 0.3), (0.42, 0.42)],
                [(0.55, 0.55), (0.7, 0.7)],
                [(0.85, 0.85), (0.95, 0.95)],
            ]
        ),
    ),
    train_cfg=dict(_delete_=True, assigner=dict(type='TaskAlignedAssigner', topk=13)),
)
