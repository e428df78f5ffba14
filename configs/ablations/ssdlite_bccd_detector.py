# ssdlite_mbv2_bccd_plus.py from the backbone of a detector that TensorFlow trained on pedestrians,
# in small batches; docs/accuracy.md says how to get the file.
# python tools/train.py configs/ablations/ssdlite_bccd_detector.py
_base_ = ['../ssdlite_mbv2_bccd_plus.py']

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        padding='same',
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='data/pedestrian_ssdlite.pb'),
    ),
)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=4)
