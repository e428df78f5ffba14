# SSDLite-MobileNetV2 on COCO with the paper's feature maps and priors: 4.3 M params, 0.8 B MAdds.
# Published (MobileNetV2 paper, table 6): 22.1 AP on test-dev at 320.
# torchrun --nproc_per_node=8 tools/train.py configs/ssdlite_mbv2_coco.py --launcher pytorch
_base_ = ['./ssdlite_mbv2_coco_mmdet-taps.py']

in_channels = (576, 1280, 512, 256, 256, 128)
conv_init = dict(type='TruncNormal', layer='Conv2d', std=0.03)

model = dict(
    backbone=dict(out_indices=('layer6.expand', 'conv2')),
    neck=dict(in_channels=in_channels[:2], out_channels=in_channels),
    bbox_head=dict(
        in_channels=in_channels,
        anchor_generator=dict(_delete_=True, type='SSDLitePriorGenerator'),
        init_cfg=conv_init,
    ),
)
