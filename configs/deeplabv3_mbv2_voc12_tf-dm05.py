# The paper's DeepLabV3 at depth 0.5 and output stride 8, for phones: 257 pixels, as in TensorFlow
# Lite's hosted model. 0.88 B multiply-adds at 513 pixels and output stride 16.
# Published (TF DeepLab, quantize.md): 70.19 mIoU on VOC 2012 val at 513 and output stride 16.
# python tools/test.py configs/deeplabv3_mbv2_voc12_tf-dm05.py deeplabv3_257_mv_gpu.tflite
# python tools/train.py configs/deeplabv3_mbv2_voc12_tf-dm05.py
_base_ = ['./deeplabv3_mbv2_voc12_tf.py']
load_from = 'tensorflow://deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01'

size = (257, 257)
model = dict(
    data_preprocessor=dict(size=size, test_cfg=dict(size=size)),
    backbone=dict(widen_factor=0.5, round_to=1, output_stride=8),
    decode_head=dict(in_channels=160, output_stride=8),
)
# The whole image in 257 x 257 pixels.
resize = dict(type='Resize', scale=size, keep_ratio=False, backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResizeCropFlip',
        scale=size,
        ratio_range=(0.5, 2.0),
        crop_size=size,
        cat_max_ratio=1.0,
    ),
    dict(type='FastPackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    dataset=dict(datasets=[dict(pipeline=train_pipeline), dict(pipeline=train_pipeline)])
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
