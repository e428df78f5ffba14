# ssdlite_mbv2_bccd_plus.py at half width, in batches of 4, from the backbone of a classifier that
# was trained on the cells cut out of the same training images; docs/accuracy.md has the commands.
# python tools/train.py configs/ablations/ssdlite_bccd_crops.py
_base_ = ['../ssdlite_mbv2_bccd_plus.py']

model = dict(
    backbone=dict(
        widen_factor=0.5,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='data/bccd_crops.pth'),
    ),
    neck=dict(in_channels=(96, 288, 1280)),
)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=4)
