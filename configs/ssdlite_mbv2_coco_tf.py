# SSDLite-MobileNetV2 as the paper's authors published it: TensorFlow's padding, batch norms, input
# and scores, and their trained weights to start from or to evaluate.
# Published (TensorFlow's detection model zoo): 22 mAP on COCO at 300 pixels.
# python tools/test.py configs/ssdlite_mbv2_coco_tf.py \
#     tensorflow://ssdlite_mobilenet_v2_coco_2018_05_09
# torchrun --nproc_per_node=8 tools/train.py configs/ssdlite_mbv2_coco_tf.py --launcher pytorch
_base_ = ['./ssdlite_mbv2_coco.py']
load_from = 'tensorflow://ssdlite_mobilenet_v2_coco_2018_05_09'

size = (300, 300)
mean = std = [127.5, 127.5, 127.5]
norm_cfg = dict(type='BN', eps=0.001, momentum=0.03)
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(padding='same', norm_cfg=norm_cfg),
    neck=dict(padding='same', norm_cfg=norm_cfg),
    bbox_head=dict(use_sigmoid=True, norm_cfg=norm_cfg),
    # Boxes are clipped after they are suppressed, and those left without area dropped.
    test_cfg=dict(
        nms_pre=-1,
        nms=dict(type='nms', iou_threshold=0.6),
        score_thr=1e-8,
        max_per_img=100,
        clip_after_nms=True,
    ),
)
# TensorFlow 1's bilinear rule, without rounding.
resize = dict(type='LegacyResize', scale=size)
train_pipeline = [
    dict(type='LoadImageLazily'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomExpandCropResize', scale=size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
