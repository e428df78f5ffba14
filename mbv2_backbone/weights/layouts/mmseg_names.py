"""mmsegmentation's and mmpretrain's `MobileNetV2`: a block's convolutions are numbered in `conv`.

mmsegmentation's ends with `layer7`; mmpretrain's has `conv2` too.
"""

from __future__ import annotations

import re

from .schema import BLOCKS, Layout, after_prefix, parts


def _modules() -> dict[str, str]:
    units = {'conv1': 'conv1', 'conv2': 'conv2'}
    for stage, i in BLOCKS:
        for j, part in enumerate(parts(stage.expand_ratio)):
            units[f'{stage.name}.{i}.conv.{j}'] = f'{stage.name}.{i}.{part}'
    return {f'{k}.{leaf}': f'{v}.{leaf}' for k, v in units.items() for leaf in ('conv', 'bn')}


LAYOUT = Layout(
    name='mmseg/mmpretrain',
    anchor=after_prefix('layer1.0.conv.0.conv.weight'),
    body=re.compile(r'layer\d+\.|conv1\.|conv2\.'),
    modules=_modules(),
)
