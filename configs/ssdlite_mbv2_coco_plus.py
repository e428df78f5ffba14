# SSDLite-MobileNetV2 on COCO, the same size used better: a top-down neck, a map of stride 8, and
# quality focal loss and generalised IoU instead of hard negative mining and smooth L1.
# Published: nothing for this recipe; docs/accuracy.md has its gain on small datasets.
# torchrun --nproc_per_node=8 tools/train.py configs/ssdlite_mbv2_coco_plus.py --launcher pytorch
_base_ = ['./ssdlite_mbv2_coco.py']

channels = 128
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
        type='QualitySSDLiteHead',
        in_channels=(channels,) * 5,
        anchor_generator=dict(
            # Two squares and a wide and a tall shape a cell, twice as large from map to map.
            shapes=[
                [(0.06, 0.06), (0.09, 0.09), (0.1, 0.05), (0.05, 0.1)],
                [(0.13, 0.13), (0.18, 0.18), (0.2, 0.1), (0.1, 0.2)],
                [(0.26, 0.26), (0.36, 0.36), (0.4, 0.2), (0.2, 0.4)],
                [(0.5, 0.5), (0.65, 0.65), (0.75, 0.37), (0.37, 0.75)],
                [(0.8, 0.8), (0.95, 0.95), (0.95, 0.6), (0.6, 0.95)],
            ]
        ),
    ),
    # Scores that know the better of two boxes let more of them stand.
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)
