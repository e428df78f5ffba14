# deeplabv3_mbv2_camvid_plus.py with DeepLabV3+'s decoder at stride 4, made small enough for the
# same multiply-adds.
# python tools/train.py configs/ablations/deeplabv3plus_camvid.py
_base_ = ['../deeplabv3_mbv2_camvid_plus.py']

model = dict(
    backbone=dict(out_indices=('layer2', 'layer7')),
    decode_head=dict(
        type='DeepLabV3PlusHead',
        in_index=1,
        fine_in_channels=24,
        fine_channels=24,
        channels=64,
        dilations=(),
    ),
)
