# ssdlite_mbv2_bccd_plus.py with a head that also takes other assigners, smooth L1 and label
# smoothing; without options it is that config.
# python tools/train.py configs/ablations/ssdlite_bccd_head.py \
#     --cfg-options model.train_cfg.assigner.type=TaskAlignedAssigner
_base_ = ['../ssdlite_mbv2_bccd_plus.py']
custom_imports = dict(
    imports=['mbv2_backbone', 'mbv2_backbone.det', 'measure.recipes.ablated_head'],
    allow_failed_imports=False,
)

model = dict(bbox_head=dict(type='AblatedQualityHead'))
