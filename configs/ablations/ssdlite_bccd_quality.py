# ssdlite_mbv2_bccd.py with the losses of ssdlite_mbv2_bccd_plus.py and nothing else.
# python tools/train.py configs/ablations/ssdlite_bccd_quality.py
_base_ = ['../ssdlite_mbv2_bccd.py']

model = dict(bbox_head=dict(type='QualitySSDLiteHead'))
