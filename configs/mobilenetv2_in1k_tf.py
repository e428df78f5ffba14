# MobileNetV2 on ImageNet-1k as the paper's authors trained it: TensorFlow's padding, batch norm and
# input from -1 to 1, tested on the middle 7/8 of each side. For weights of slim and Keras.
# Recipe of the paper, section 6.1: RMSProp with decay and momentum 0.9, learning rate 0.045 decayed
# by 0.98 an epoch, 96 images on each of 16 GPUs. Its updates were asynchronous, and the number of
# epochs is not published.
# Published: 72.0 top-1 (paper, table 4), 71.8 (slim's checkpoint), 71.3 (Keras' copy of it).
# python tools/train.py configs/mobilenetv2_in1k_tf.py
# python tools/test.py configs/mobilenetv2_in1k_tf.py tensorflow://mobilenet_v2_1.0_224
_base_ = './mobilenetv2_in1k.py'
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(padding='same', norm_cfg=dict(type='BN', eps=0.001, momentum=0.003)),
)
test_pipeline = [
    dict(type='LoadImageAsAnnotated'),
    dict(type='CentreView', size=224, resize=256, interpolation='legacy'),
    dict(type='PackClassInputs'),
]
train_dataloader = dict(batch_size=96)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='RMSprop', lr=0.045, alpha=0.9, eps=1.0, momentum=0.9, weight_decay=4e-5
    )
)
auto_scale_lr = dict(base_batch_size=1536)
