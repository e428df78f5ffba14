# DeepLabV3-MobileNetV2 without ASPP on Cityscapes, crops of 769, tested on whole images.
# Published (TF DeepLab zoo, mobilenetv2_coco_cityscapes_trainfine): 70.71 mIoU on val.
# torchrun --nproc_per_node=4 tools/train.py configs/deeplabv3_mbv2_cityscapes.py --launcher pytorch
_base_ = [
    './_base_/deeplabv3_mbv2.py',
    'mmseg::_base_/datasets/cityscapes_769x769.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_80k.py',
]
data_help = """Register at cityscapes-dataset.com, get leftImg8bit_trainvaltest.zip and
gtFine_trainvaltest.zip, unpack both there, then make the label maps with cityscapesscripts:
pip install cityscapesscripts && CITYSCAPES_DATASET=data/cityscapes csCreateTrainIdLabelImgs"""

model = dict(
    data_preprocessor=dict(size=(769, 769), test_cfg=dict(size=(1025, 2049))),
    decode_head=dict(num_classes=19),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResizeCropFlip',
        scale=(2048, 1024),
        ratio_range=(0.5, 2.0),
        crop_size=(769, 769),
    ),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='FastPackSegInputs'),
]
# Images keep their size and are padded to 16 k + 1 pixels.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))
auto_scale_lr = dict(base_batch_size=16)
