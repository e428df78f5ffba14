# mmdet's SSDLite-MobileNetV2 on COCO, which trains but cannot be evaluated there, on our backbone
# and head. The checkpoint that mmdet publishes loads as it is.
# Published (mmdet, 600 epochs from scratch): 21.3 AP on val2017.
# torchrun --nproc_per_node=8 tools/train.py configs/ssdlite_mbv2_coco_mmdet-taps.py \
#     --launcher pytorch
_base_ = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'
custom_imports = dict(imports=['mbv2_backbone', 'mbv2_backbone.det'], allow_failed_imports=False)
data_help = 'Get it with: python tools/data.py fetch coco2017 (20 GB)'

model = dict(
    backbone=dict(type='MobileNetV2Backbone'),
    neck=dict(type='SSDLiteNeck'),
    bbox_head=dict(type='SSDLiteHead'),
)
# mmdet's Expand, MinIoURandomCrop, Resize and PhotoMetricDistortion: the same choices, in one step.
train_pipeline = [
    dict(type='LoadImageLazily'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomExpandCropResize', scale=(320, 320)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    dataset=dict(dataset=dict(type='CheckedCocoDataset', pipeline=train_pipeline))
)
val_dataloader = dict(dataset=dict(type='CheckedCocoDataset'))
test_dataloader = val_dataloader
