# ssdlite_mbv2_bccd_plus.py with every batch resized to a random size from 256 to 384.
# python tools/train.py configs/ablations/ssdlite_bccd_multiscale.py
_base_ = ['../ssdlite_mbv2_bccd_plus.py']

model = dict(
    data_preprocessor=dict(
        batch_augments=[
            dict(
                type='BatchSyncRandomResize',
                random_size_range=(256, 384),
                size_divisor=32,
                interval=1,
            )
        ]
    ),
    bbox_head=dict(anchor_generator=dict(base_side=320)),
)
