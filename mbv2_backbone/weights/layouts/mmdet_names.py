"""mmdetection's `MobileNetV2`; our backbone uses the same names."""

from __future__ import annotations

import re

from .schema import UNITS, Layout, after_prefix

LAYOUT = Layout(
    name='mmdet',
    anchor=after_prefix('layer1.0.depthwise_conv.conv.weight'),
    body=re.compile(r'layer\d+\.|conv1\.|conv2\.'),
    modules={f'{unit}.{leaf}': f'{unit}.{leaf}' for unit in UNITS for leaf in ('conv', 'bn')},
)
