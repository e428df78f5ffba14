# ssdlite_bccd_stride8.py with task-aligned training.
# python tools/train.py configs/ablations/ssdlite_bccd_stride8_aligned.py
_base_ = ['./ssdlite_bccd_stride8.py']

model = dict(
    bbox_head=dict(type='AlignedSSDLiteHead'),
    train_cfg=dict(_delete_=True, assigner=dict(type='TaskAlignedAssigner', topk=13)),
)
