#!/usr/bin/env bash
# Guess: `backbone.eval()` and `backbone.train()` return the module, as torch's do and its documentation says.
# Truth (onedl-mmsegmentation 1.4.2; mmseg 1.2.2 and mmdet 3.3.0 have the same lines): backbones that override `train`,
#   MobileNetV2, ResNet and others, return None. A segmentor that contains them returns itself.
# Hurts: `backbone = MODELS.build(cfg).eval()` before an export, a comparison of weights or feature extraction: the
#   name is None, and the error comes at the first call, in other words ('NoneType' object is not callable).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q onedl-mmsegmentation==1.4.2 onedl-mmcv==2.3.6 onedl-mmengine==0.10.12 torch==2.15.0 \
    torchvision==0.29.2 numpy==2.2.6 ftfy regex
venv/bin/python -W ignore - <<'PY'
from mmseg.models.backbones import MobileNetV2, ResNet
from mmseg.models.decode_heads import FCNHead
from torchvision.models import mobilenet_v2


def returned(module):
    """What eval() and train() return: 'itself' or the value."""
    return ['itself' if found is module else found for found in (module.eval(), module.train())]


seen = {
    'torchvision MobileNetV2': returned(mobilenet_v2()),
    'mmseg MobileNetV2': returned(MobileNetV2()),
    'mmseg ResNet': returned(ResNet(18)),
    'mmseg FCNHead': returned(FCNHead(in_channels=8, channels=8, num_classes=2)),
}
print(seen)
# Seen: torchvision MobileNetV2 and mmseg FCNHead: itself, itself; mmseg MobileNetV2 and ResNet: None, None
assert seen == {
    'torchvision MobileNetV2': ['itself'] * 2,
    'mmseg MobileNetV2': [None] * 2,
    'mmseg ResNet': [None] * 2,
    'mmseg FCNHead': ['itself'] * 2,
}, 'behaviour changed'
PY
