# DeepLabV3-MobileNetV2 with ASPP on Pascal VOC 2012: 4.5 M params, 5.45 B MAdds at 513.
# Published (MobileNetV2 paper, table 7): 75.70 mIoU on val, pretrained on COCO, backbone and head.
# torchrun --nproc_per_node=4 tools/train.py configs/deeplabv3-aspp_mbv2_voc12aug.py \
#     --launcher pytorch
_base_ = './deeplabv3_mbv2_voc12aug.py'
model = dict(decode_head=dict(dilations=(6, 12, 18)))
