"""Check that a config preprocesses images as the weights expect."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Preprocessing:
    """How to normalise an image with values 0 to 255: `(image - mean) / std`.

    Attributes:
        mean: Per channel, on the 0 to 255 scale.
        std: Per channel, on the 0 to 255 scale.
        channel_order: `RGB` or `BGR`, of the image and of `mean` and `std`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str = 'RGB'

    def __str__(self) -> str:
        pairs = list(zip(self.mean, self.std, strict=True))
        low, high = min(-m / s for m, s in pairs), max((255 - m) / s for m, s in pairs)
        return (
            f'{self.channel_order}, mean {list(self.mean)}, std {list(self.std)}, '
            f'range {low:.1f} to {high:.1f}'
        )


IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
MINUS_ONE_TO_ONE = Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
# Published values differ in the third digit: 0.229 * 255 is 58.395, some configs say 58.4.
TOLERANCE = 0.51


def preprocessing_of(data_preprocessor: Mapping[str, Any]) -> Preprocessing:
    """Return how a config's `data_preprocessor` changes images.

    Images are assumed to arrive as BGR, as OpenMMLab's loading transforms return them.

    Args:
        data_preprocessor: The config; `mean`, `std` and `bgr_to_rgb` (mmpretrain: `to_rgb`) matter.
    """
    to_rgb = data_preprocessor.get('bgr_to_rgb', data_preprocessor.get('to_rgb', False))
    return Preprocessing(
        tuple(data_preprocessor.get('mean') or (0.0, 0.0, 0.0)),
        tuple(data_preprocessor.get('std') or (1.0, 1.0, 1.0)),
        'RGB' if to_rgb else 'BGR',
    )


def contradiction(
    expected: Preprocessing, data_preprocessor: Mapping[str, Any] | None
) -> str | None:
    """Describe how a config's `data_preprocessor` contradicts the weights, or return `None`.

    Args:
        expected: What the weights were trained on.
        data_preprocessor: The config. `None` means it is unknown; the result is then `None`.
    """
    if data_preprocessor is None:
        return None
    actual = preprocessing_of(data_preprocessor)
    if (
        actual.channel_order == expected.channel_order
        and _close(actual.mean, expected.mean)
        and _close(actual.std, expected.std)
    ):
        return None
    return (
        f'the data_preprocessor gives {actual}, but the pretrained weights were trained on '
        f'{expected}. Set in data_preprocessor:\nmean={list(expected.mean)},\n'
        f'std={list(expected.std)},\nbgr_to_rgb={expected.channel_order == "RGB"},'
    )


def _close(got: Sequence[float], wanted: Sequence[float]) -> bool:
    return len(got) == len(wanted) and all(
        abs(g - w) <= TOLERANCE for g, w in zip(got, wanted, strict=True)
    )


def data_preprocessor_of_model(model: nn.Module) -> dict | None:
    """Return the settings of a detector's or segmentor's own `data_preprocessor`, if any."""
    module = getattr(model, 'data_preprocessor', None)
    if module is None:
        return None
    normalises = hasattr(module, 'mean') and hasattr(module, 'std')
    return dict(
        mean=module.mean.flatten().tolist() if normalises else None,
        std=module.std.flatten().tolist() if normalises else None,
        bgr_to_rgb=swaps_channels(module),
    )


def swaps_channels(preprocessor: nn.Module) -> bool:
    """Check whether a data preprocessor swaps the first and the last channel of an image.

    mmsegmentation 1.2.2 has its own public flag, all others use mmengine's.
    """
    private = getattr(preprocessor, '_channel_conversion', False)
    return getattr(preprocessor, 'channel_conversion', private)


def data_preprocessor_of_run() -> dict | None:
    """Return the `data_preprocessor` of the running mmengine `Runner`'s config, if there is one.

    The runner publishes its config as text before weights are initialised.
    """
    from mmengine.logging import MessageHub

    text = MessageHub.get_current_instance().get_info('cfg')
    return data_preprocessor_of(parse_config(text))


def data_preprocessor_of(config: Mapping[str, Any]) -> dict | None:
    """Return a config's `data_preprocessor`: the model's own, else the shared one."""
    own = (config.get('model') or {}).get('data_preprocessor')
    found = own if own is not None else config.get('data_preprocessor')
    return found if isinstance(found, dict) else None


def parse_config(
    text: Any, names: Sequence[str] = ('model', 'data_preprocessor')
) -> dict[str, Any]:
    """Read some settings from a dumped config, without running it."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, TypeError, ValueError):
        return {}
    return {
        target.id: _literal(node.value)
        for node in statements
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in names
    }


def _literal(node: ast.expr) -> Any:
    """Evaluate literals, `dict(...)` calls and lists of both; anything else becomes `None`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return {k.arg: _literal(k.value) for k in node.keywords if k.arg is not None}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return [_literal(one) for one in node.elts] if isinstance(node, ast.List) else None
