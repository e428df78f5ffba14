# deeplabv3_mbv2_camvid_plus.py with an auxiliary head on an earlier map, used only in training.
# python tools/train.py configs/ablations/deeplabv3_camvid_auxiliary.py
_base_ = ['../deeplabv3_mbv2_camvid_plus.py']

model = dict(
    backbone=dict(out_indices=('layer5', 'layer7')),
    decode_head=dict(in_index=1),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=96,
        in_index=0,
        channels=64,
        num_convs=1,
        concat_input=False,
        num_classes={{_base_.model.decode_head.num_classes}},
        norm_cfg=dict(type='BN'),
        align_corners=True,
        loss_decode=dict(
            type='PixelCrossEntropyLoss',
            class_weight={{_base_.model.decode_head.loss_decode.class_weight}},
            loss_weight=0.4,
        ),
    ),
)
