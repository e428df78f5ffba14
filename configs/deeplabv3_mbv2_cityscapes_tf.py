# deeplabv3_mbv2_cityscapes.py as the paper's authors published it: TensorFlow's padding, batch
# norms and input, and their trained weights to start from or to evaluate.
# Published (TF DeepLab zoo): 70.71 mIoU on Cityscapes val at output stride 16.
# python tools/test.py configs/deeplabv3_mbv2_cityscapes_tf.py \
#     tensorflow://deeplabv3_mnv2_cityscapes_train_2018_02_05
# torchrun --nproc_per_node=4 tools/train.py configs/deeplabv3_mbv2_cityscapes_tf.py \
#     --launcher pytorch
_base_ = ['./deeplabv3_mbv2_cityscapes.py']
load_from = 'tensorflow://deeplabv3_mnv2_cityscapes_train_2018_02_05'

mean = std = [127.5, 127.5, 127.5]
model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(padding='same', norm_cfg=dict(type='BN', eps=0.001), init_cfg=None),
    decode_head=dict(norm_cfg=dict(type='BN', eps=1e-5)),
)
