# The paper's mobile DeepLabV3 (MobileNetV2 paper, section 6.3) at output stride 16, for mmseg.
# Evaluate a checkpoint at stride 8: --cfg-options model.backbone.output_stride=8
custom_imports = dict(imports=['mbv2_backbone', 'mbv2_backbone.seg'], allow_failed_imports=False)
sync_bn = 'torch'  # where several GPUs train

model = dict(
    _scope_='mmseg',  # for mmengine.hub.get_model, which does not read default_scope
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(513, 513),
        seg_pad_val=255,
        test_cfg=dict(size=(513, 513)),
    ),
    backbone=dict(
        type='MobileNetV2Backbone',
        out_indices=('layer7',),
        output_stride=16,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://mobilenet_v2'),
    ),
    decode_head=dict(
        type='DeepLabV3Head',
        in_channels=320,
        in_index=0,
        channels=256,
        num_classes=21,
        dropout_ratio=0.1,
        output_stride=16,
    ),
    test_cfg=dict(mode='whole'),
)
