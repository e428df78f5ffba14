"""timm's `mobilenetv2_*`: a stem, seven stages of blocks and a head."""

from __future__ import annotations

import re

from ...arch import STAGES
from .schema import BLOCKS, OTHER_NETWORK, Layout, StateDict, after_prefix, parts

DEEPER = {
    (1, 3, 4, 5, 4, 4, 1): 'timm mobilenetv2_110d',
    (1, 3, 5, 6, 5, 5, 1): 'timm mobilenetv2_120d',
}
"""timm's deeper variants, by the number of blocks in each stage."""

_CONVS = {
    'layer1': (('conv_dw', 'bn1'), ('conv_pw', 'bn2')),
    'others': (('conv_pw', 'bn1'), ('conv_dw', 'bn2'), ('conv_pwl', 'bn3')),
}


def _modules() -> dict[str, str]:
    modules = {'conv_stem': 'conv1.conv', 'bn1': 'conv1.bn'}
    for stage, i in BLOCKS:
        theirs = f'blocks.{int(stage.name.removeprefix("layer")) - 1}.{i}'
        names = _CONVS.get(stage.name, _CONVS['others'])
        for part, (conv, norm) in zip(parts(stage.expand_ratio), names, strict=True):
            modules[f'{theirs}.{conv}'] = f'{stage.name}.{i}.{part}.conv'
            modules[f'{theirs}.{norm}'] = f'{stage.name}.{i}.{part}.bn'
    return modules | {'conv_head': 'conv2.conv', 'bn2': 'conv2.bn'}


def _describe_other(state_dict: StateDict) -> str:
    blocks = {tuple(name.split('.')[1:3]) for name in state_dict if name.startswith('blocks.')}
    depths = tuple(sum(stage == str(i) for stage, _ in blocks) for i in range(len(STAGES)))
    if depths not in DEEPER:
        return OTHER_NETWORK
    return (
        f'It is {DEEPER[depths]}, which has {depths} blocks in its stages instead of '
        f'{tuple(stage.num_blocks for stage in STAGES)} and is not supported; '
        f'take mobilenetv2_100 or mobilenetv2_140'
    )


LAYOUT = Layout(
    name='timm',
    anchor=after_prefix('blocks.0.0.conv_dw.weight'),
    body=re.compile(r'blocks\.|conv_stem\.|bn1\.|conv_head\.|bn2\.'),
    modules=_modules(),
    describe_other=_describe_other,
)
