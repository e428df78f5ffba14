# deeplabv3_mbv2_camvid.py with classes weighted by their share of the pixels.
# No figure is published for this model and split; docs/accuracy.md has ours, with and without that.
# python tools/train.py configs/deeplabv3_mbv2_camvid_plus.py
_base_ = ['./deeplabv3_mbv2_camvid.py']

model = dict(
    decode_head=dict(
        loss_decode=dict(
            type='PixelCrossEntropyLoss',
            # One over the root of the share of pixels, 1 in the mean over all pixels.
            class_weight=(0.88, 0.75, 3.6, 0.64, 1.7, 1.15, 3.3, 3.4, 1.5, 4.5, 6.7),
        ),
    ),
)
