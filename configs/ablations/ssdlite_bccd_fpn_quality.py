# ssdlite_bccd_fpn.py with quality focal loss and generalised IoU instead of hard negative
# mining and smooth L1.
# python tools/train.py configs/ablations/ssdlite_bccd_fpn_quality.py
_base_ = ['./ssdlite_bccd_fpn.py']

model = dict(
    bbox_head=dict(type='QualitySSDLiteHead'),
    # Scores that know the better of two boxes let more of them stand.
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)
