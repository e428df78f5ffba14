# ssdlite_mbv2_bccd.py with task-aligned training and nothing else.
# python tools/train.py configs/ablations/ssdlite_bccd_aligned.py
_base_ = ['../ssdlite_mbv2_bccd.py']

model = dict(
    bbox_head=dict(type='AlignedSSDLiteHead'),
    train_cfg=dict(_delete_=True, assigner=dict(type='TaskAlignedAssigner', topk=13)),
)
