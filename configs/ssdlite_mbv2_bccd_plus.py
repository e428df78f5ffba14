# ssdlite_mbv2_bccd.py with a top-down neck, a map of stride 8, and quality focal loss and
# generalised IoU in place of hard negatives and smooth L1. docs/accuracy.md has what each brings.
# No figure is published for this split; what we measured stands there, too.
# python tools/train.py configs/ssdlite_mbv2_bccd_plus.py
_base_ = ['./ablations/ssdlite_bccd_fpn.py']

model = dict(
    bbox_head=dict(type='QualitySSDLiteHead'),
    # Scores that know the better of two boxes let more of them stand.
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)
