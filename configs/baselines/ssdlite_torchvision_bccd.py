# torchvision's ssdlite320_mobilenet_v3_large from scratch on BCCD: its model, normalisation,
# losses, matching and NMS; the recipe of its references/detection (SGD, 0.15 at batch 192, cosine,
# random IoU crop and flip) at batch 16, with its warm-up scaled to the length of the run.
# python tools/train.py configs/baselines/ssdlite_torchvision_bccd.py
# With our optimizer:
#     --cfg-options optim_wrapper.optimizer._delete_=True optim_wrapper.optimizer.type=AdamW \
#         optim_wrapper.optimizer.lr=0.002 optim_wrapper.optimizer.weight_decay=0.05
_base_ = './ssdlite_mmdet_bccd.py'

model = dict(
    _delete_=True,
    type='TorchvisionSSDLite',
    num_classes=3,
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255], bgr_to_rgb=True
    ),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='MinIoURandomCrop'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Resize', scale=(320, 320), keep_ratio=False),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
optim_wrapper = dict(optimizer=dict(lr=0.15 * 16 / 192, weight_decay=4e-5))
