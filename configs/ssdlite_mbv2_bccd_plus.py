# ssdlite_mbv2_bccd.py with a top-down neck, a map of stride 8, quality focal loss and generalised
# IoU, scales on both sides of the one that is tested in place of crops that only enlarge, and no
# weight decay of norms and biases. docs/accuracy.md has what each brings. No figure is published
# for this split; what we measured stands there, too.
# python tools/train.py configs/ssdlite_mbv2_bccd_plus.py
_base_ = ['./ablations/ssdlite_bccd_jitter.py']

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
