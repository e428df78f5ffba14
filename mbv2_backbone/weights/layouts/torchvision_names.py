"""torchvision's `MobileNetV2`: one `features` list of stem, blocks and last conv."""

from __future__ import annotations

import re
from collections.abc import Callable

from .schema import BLOCKS, Layout, after_prefix, parts


def list_modules(name: Callable[[int], str], *, is_flat: bool = False) -> dict[str, str]:
    """Return our module names by those of a list of stem, blocks and last conv.

    Args:
        name: The name of the list's entry at a position.
        is_flat: Whether a block is one list of convolutions, norms and activations, as before
            torchvision, which groups them by convolution.
    """
    modules = {f'{name(0)}.0': 'conv1.conv', f'{name(0)}.1': 'conv1.bn'}
    for position, (stage, i) in enumerate(BLOCKS, start=1):
        *activated, linear = parts(stage.expand_ratio)
        theirs, ours = f'{name(position)}.conv', f'{stage.name}.{i}'
        for j, part in enumerate(activated):
            conv, norm = (f'{3 * j}', f'{3 * j + 1}') if is_flat else (f'{j}.0', f'{j}.1')
            modules[f'{theirs}.{conv}'] = f'{ours}.{part}.conv'
            modules[f'{theirs}.{norm}'] = f'{ours}.{part}.bn'
        last = len(activated) * (3 if is_flat else 1)
        modules[f'{theirs}.{last}'] = f'{ours}.{linear}.conv'
        modules[f'{theirs}.{last + 1}'] = f'{ours}.{linear}.bn'
    last_conv = name(len(BLOCKS) + 1)
    return modules | {f'{last_conv}.0': 'conv2.conv', f'{last_conv}.1': 'conv2.bn'}


LAYOUT = Layout(
    name='torchvision',
    # MobileNetV3 and EfficientNet share `features.0.0`, but name their blocks' parts `block`.
    anchor=after_prefix('features.1.conv.0.0.weight'),
    body=re.compile(r'features\.'),
    modules=list_modules('features.{}'.format),
)
