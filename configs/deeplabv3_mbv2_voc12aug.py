# DeepLabV3-MobileNetV2 without ASPP on Pascal VOC 2012, trained on the 10,582 images of trainaug.
# Published (MobileNetV2 paper, table 7): 75.32 mIoU on val, pretrained on COCO, backbone and head.
# With ImageNet weights alone: 0.701 (VainF/DeepLabV3Plus-Pytorch).
# torchrun --nproc_per_node=4 tools/train.py configs/deeplabv3_mbv2_voc12aug.py --launcher pytorch
_base_ = [
    './_base_/deeplabv3_mbv2.py',
    'mmseg::_base_/datasets/pascal_voc12_aug.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_40k.py',
]
data_root = 'data/VOCdevkit/VOC2012'
data_help = """Get it with: python tools/data.py fetch voc12aug
(VOC 2012 and the masks of SBD, 3.4 GB)"""

# The paper's augmentation: the image at half to twice its size (the long side of VOC's is 500).
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResizeCropFlip',
        scale=(500, 500),
        ratio_range=(0.5, 2.0),
        crop_size=(513, 513),
        cat_max_ratio=1.0,
    ),
    dict(type='FastPackSegInputs'),
]
# Images keep their size and are padded to 513 pixels, as in the paper.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
voc = dict(type='PascalVOCDataset', data_root=data_root, pipeline=train_pipeline)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        datasets=[
            dict(
                ann_file='ImageSets/Segmentation/train.txt',
                data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
                **voc,
            ),
            dict(
                ann_file='ImageSets/Segmentation/aug.txt',
                data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
                **voc,
            ),
        ]
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=0.007, weight_decay=4e-5))
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=40000, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=16)
