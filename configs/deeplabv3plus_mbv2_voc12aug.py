# DeepLabV3+ with MobileNetV2 on Pascal VOC 2012: separable ASPP, decoder at stride 4; 2.7 M params,
# 5.95 B MAdds at 513.
# Published (VainF/DeepLabV3Plus-Pytorch, ImageNet weights, centre crops of 513): 0.711 mIoU on val.
# torchrun --nproc_per_node=4 tools/train.py configs/deeplabv3plus_mbv2_voc12aug.py \
#     --launcher pytorch
_base_ = './deeplabv3_mbv2_voc12aug.py'
model = dict(
    backbone=dict(out_indices=('layer2', 'layer7')),
    decode_head=dict(
        type='DeepLabV3PlusHead', in_index=1, fine_in_channels=24, dilations=(6, 12, 18)
    ),
)
