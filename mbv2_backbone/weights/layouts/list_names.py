"""Networks that keep MobileNetV2 as a list, as torchvision does, under other names.

- `flat`: tonylins' and d-li14's MobileNetV2, and those made from them: a block is one list. The
  last conv is the list's last entry, or `conv`.
- `low_level_features` and `high_level_features`: the list cut in two, of VainF's and jfzhang95's
  DeepLabV3+.
- `base_net`: qfgaohao's pytorch-ssd.
- no name: `torchvision.models.mobilenet_v2().features` given to another model as its backbone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..preprocessing import Preprocessing
from .schema import Layout
from .torchvision_names import list_modules

_DEEP = 13  # a block so far down that no other list of convolutions has its name
_LOW_LEVEL = 4  # entries of the list's first part


def _layout(
    name: str, entry: Callable[[int], str], body: str, *, is_flat: bool, **settings: Any
) -> Layout:
    modules = list_modules(entry, is_flat=is_flat)
    if is_flat:
        modules |= {'conv.0': 'conv2.conv', 'conv.1': 'conv2.bn'}
    first = re.escape(f'{entry(_DEEP)}.conv.0.{"" if is_flat else "0."}weight')
    return Layout(
        name=f'{name}, flat' if is_flat else name,
        anchor=re.compile(rf'(|.*\.)(?<!features\.)(?<!base_net\.){first}$'),
        body=re.compile(body),
        modules=modules,
        **settings,
    )


def _in_two(position: int) -> str:
    return f'{"low" if position < _LOW_LEVEL else "high"}_level_features.{position}'


LAYOUTS = (
    _layout('features', 'features.{}'.format, r'features\.|conv\.', is_flat=True),
    _layout('low and high level', _in_two, r'(low|high)_level_features\.', is_flat=False),
    _layout('low and high level', _in_two, r'(low|high)_level_features\.', is_flat=True),
    _layout(
        'base_net',
        'base_net.{}'.format,
        r'base_net\.',
        is_flat=True,
        preprocessing=Preprocessing((127.0,) * 3, (128.0,) * 3),
    ),
    _layout('list', str, r'\d+\.', is_flat=False),
    _layout('list', str, r'\d+\.', is_flat=True),
)
