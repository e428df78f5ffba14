"""torchvision's `MobileNetV2`: one `features` list of stem, blocks and last conv."""

from __future__ import annotations

import re

from .schema import BLOCKS, Layout, after_prefix, parts


def _modules() -> dict[str, str]:
    modules = {'features.0.0': 'conv1.conv', 'features.0.1': 'conv1.bn'}
    for position, (stage, i) in enumerate(BLOCKS, start=1):
        *activated, linear = parts(stage.expand_ratio)
        theirs, ours = f'features.{position}.conv', f'{stage.name}.{i}'
        for j, part in enumerate(activated):
            modules[f'{theirs}.{j}.0'] = f'{ours}.{part}.conv'
            modules[f'{theirs}.{j}.1'] = f'{ours}.{part}.bn'
        modules[f'{theirs}.{len(activated)}'] = f'{ours}.{linear}.conv'
        modules[f'{theirs}.{len(activated) + 1}'] = f'{ours}.{linear}.bn'
    last = f'features.{len(BLOCKS) + 1}'
    return modules | {f'{last}.0': 'conv2.conv', f'{last}.1': 'conv2.bn'}


LAYOUT = Layout(
    name='torchvision',
    # MobileNetV3 and EfficientNet share `features.0.0`, but name their blocks' parts `block`.
    anchor=after_prefix('features.1.conv.0.0.weight'),
    body=re.compile(r'features\.'),
    modules=_modules(),
)
