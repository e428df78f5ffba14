"""Recognise a checkpoint's layout and convert it to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..arch import build_architecture
from ..common.messages import first_names
from .layouts import keras_names as keras
from .layouts import list_names as lists
from .layouts import mmdet_names as mmdet
from .layouts import mmseg_names as mmseg
from .layouts import tensorflow_names as tensorflow
from .layouts import timm_names as timm
from .layouts import torchvision_names as torchvision
from .layouts.schema import COUNTER, Layout, tensor_shapes
from .origin import origin_of
from .outcome import Report

LAYOUTS = (
    *(module.LAYOUT for module in (torchvision, timm, mmseg, mmdet, keras, tensorflow)),
    *lists.LAYOUTS,
)
PUBLISHED_WIDTHS = (1.0, 0.75, 0.5, 0.35, 1.3, 1.4, 1.1, 1.2, 0.25, 0.1)
WIDTHS = (*PUBLISHED_WIDTHS, *(round(0.05 * i, 2) for i in range(1, 61)))
ROUNDINGS = (8, 1, 4)  # 4 is of d-li14's width 0.1

_CLASSIFIER = re.compile(r'(.*\.)?(classifier|head|fc|predictions|Logits|dense)[./]')

# Where a checkpoint keeps its tensors. mmengine's EMAHook swaps the two on saving, so that
# `state_dict` holds the averaged weights; timm and torchvision keep the averages apart.
CONTAINERS = {
    'state_dict_ema': "averaged weights of 'state_dict_ema'",
    'model_ema': "averaged weights of 'model_ema'",
    'state_dict': None,
    'model': None,
}
_MAX_DEPTH = 3
_AVERAGE = '/ExponentialMovingAverage'  # TensorFlow's


def unwrap(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Take the tensors out of a checkpoint.

    Args:
        checkpoint: A state dict, or a training checkpoint that contains one under any key.

    Returns:
        The tensors by name, and notes on what was chosen.
    """
    for key, note in CONTAINERS.items():
        inner = _tensors_in(checkpoint.get(key))
        if inner:
            if 'ema_state_dict' in checkpoint:
                note = "'state_dict' holds mmengine's averaged weights, 'ema_state_dict' the others"
            return inner, (note,) if note else ()
    key, tensors = _largest('', checkpoint)
    averages = {n.removesuffix(_AVERAGE): v for n, v in tensors.items() if n.endswith(_AVERAGE)}
    # TensorFlow names what its optimizers keep of a variable `<variable>/RMSProp`.
    tensors = {
        n: v for n, v in tensors.items() if n.rpartition('/')[0] not in {*tensors, *averages}
    }
    notes = [*([f"weights of '{key}'"] if key else []), *(['averaged weights'] if averages else [])]
    return tensors | averages, tuple(notes)


def _tensors_in(node: Any) -> dict[str, Tensor]:
    if isinstance(node, nn.Module):
        node = node.state_dict()
    items = node.items() if isinstance(node, Mapping) else ()
    return {name: v for name, v in items if isinstance(name, str) and isinstance(v, Tensor)}


def _largest(key: str, part: Any) -> tuple[str, dict[str, Tensor]]:
    """Return the part with most tensors and its key; of equal ones the averaged."""
    found = [(key, _tensors_in(part))]
    if isinstance(part, Mapping) and key.count('.') < _MAX_DEPTH:
        found += [_largest(f'{key}.{k}' if key else str(k), inner) for k, inner in part.items()]
    return max(found, key=lambda one: (len(one[1]), 'ema' in one[0]))


def convert(
    checkpoint: Mapping[str, Any],
    *,
    prefix: str | None = None,
    preferred_width: float | None = None,
    preferred_rounding: int = 8,
) -> tuple[dict[str, Tensor], Report]:
    """Convert a state dict of any known layout to the names and axes of `MobileNetV2Backbone`.

    Args:
        checkpoint: A state dict, or a training checkpoint that contains one.
        prefix: Where to look, such as `backbone.`; needed only if a checkpoint has several.
        preferred_width: The width to report if the shapes fit several.
        preferred_rounding: Likewise for the backbone's `round_to`.

    Returns:
        The state dict (tensors are copied only if they must be), and the report.

    Raises:
        ValueError: If the layout is unknown, a part of the backbone is missing, a shape fits no
            width, or a value is not finite.
    """
    state_dict, notes = unwrap(checkpoint)
    if not state_dict:
        kinds = [f'{key} ({type(value).__name__})' for key, value in checkpoint.items()]
        raise ValueError(f'the checkpoint holds no tensor, only {first_names(kinds) or "nothing"}')
    layout, found = detect(state_dict, prefix)
    body = {k.removeprefix(found): v for k, v in state_dict.items() if k.startswith(found)}
    outside = [name for name in state_dict if not name.startswith(found)]
    converted, rest = layout.to_ours(body)
    deeper = [name for name in rest if layout.body.match(name)]
    if deeper:
        raise ValueError(
            f'{first_names(deeper)}: no such tensor in MobileNetV2 ({layout.name} layout). '
            f'{layout.describe_other(body)}'
        )

    expected = _expected_names(converted)
    zeroed = [n for n in expected if n.endswith(COUNTER) and n not in converted]
    missing = [n for n in expected if n not in converted and n not in zeroed]
    if missing:
        raise ValueError(
            f'{len(missing)} of {len(expected)} tensors are missing in the checkpoint '
            f'({layout.name} layout), in our names: {first_names(missing)}. It was saved '
            f'incomplete, or from a changed MobileNetV2'
        )
    converted |= {name: torch.zeros((), dtype=torch.long) for name in zeroed}
    converted = {name: converted[name] for name in expected}
    width, round_to = _infer_width(converted, preferred_width, preferred_rounding)
    check_values(converted)

    left_over: dict[str, tuple[str, ...]] = {}
    for name in (*rest, *outside):
        reason = 'classifier' if _CLASSIFIER.match(name) else 'not part of the backbone'
        left_over[reason] = (*left_over.get(reason, ()), name)
    return converted, Report(
        layout=layout.name,
        prefix=found,
        widen_factor=width,
        round_to=round_to,
        filled=len(converted),
        total=len(expected),
        zeroed=tuple(zeroed),
        left_over=left_over,
        origin=origin_of(checkpoint, layout),
        notes=notes,
    )


def detect(state_dict: Mapping[str, Tensor], prefix: str | None = None) -> tuple[Layout, str]:
    """Return the layout and the full prefix of the only backbone, or of the one under `prefix`.

    Raises:
        ValueError: If there is none, or several that `prefix` does not distinguish.
    """
    found = [(layout, p) for layout in LAYOUTS for p in sorted(layout.find_prefixes(state_dict))]
    if prefix is not None:
        wanted = prefix.rstrip('./')
        found = [(lay, p) for lay, p in found if wanted in (p.rstrip('./'), _undistributed(p))]
    if not found:
        where = f" under the prefix '{prefix}'" if prefix else ''
        sample = first_names(state_dict)
        raise ValueError(
            f'no MobileNetV2 of a known layout{where}; the checkpoint holds {sample}. Known are '
            f'{", ".join(dict.fromkeys(layout.name for layout in LAYOUTS))}, under any prefix'
        )
    found = list({p: (lay, p) for lay, p in reversed(found)}.values())[::-1]
    if len(found) > 1 and prefix is not None:
        found = [(lay, p) for lay, p in found if p.rstrip('./') == wanted] or found
    if len(found) > 1:
        raise ValueError(
            f'the checkpoint holds {len(found)} MobileNetV2s; choose one with prefix=: '
            f'{", ".join(repr(p) for _, p in found)}'
        )
    return found[0]


def _undistributed(prefix: str) -> str:
    return prefix.removeprefix('module.').rstrip('./')


def _expected_names(converted: Mapping[str, Tensor]) -> list[str]:
    """Return every tensor's name up to the deepest unit in the checkpoint."""
    names = list(tensor_shapes(build_architecture()))
    last = max((i for i, name in enumerate(names) if name in converted), default=-1)
    unit = names[last].rsplit('.', 2)[0]
    return [name for i, name in enumerate(names) if i <= last or name.startswith(f'{unit}.')]


def _infer_width(
    converted: Mapping[str, Tensor], preferred: float | None, rounding: int
) -> tuple[float, int]:
    """Return the width and `round_to` that a backbone's shapes fit; the preferred if they do."""
    widths = [preferred, *WIDTHS] if preferred else list(WIDTHS)
    best: list[str] | None = None
    nearest = widths[0], rounding
    for round_to in dict.fromkeys((rounding, *ROUNDINGS)):
        for width in widths:
            shapes = tensor_shapes(build_architecture(width, round_to=round_to))
            wrong = [name for name, t in converted.items() if tuple(t.shape) != shapes[name]]
            if not wrong:
                return width, round_to
            if best is None or len(wrong) < len(best):
                best, nearest = wrong, (width, round_to)
    shapes = tensor_shapes(build_architecture(nearest[0], round_to=nearest[1]))
    details = first_names(
        f'{name} is {tuple(converted[name].shape)}, not {shapes[name]}' for name in best or ()
    )
    raise ValueError(
        f'the shapes fit no width of MobileNetV2; nearest is {nearest[0]:g}, where {details}. '
        f'The checkpoint is of another network or of a pruned one'
    )


def check_values(converted: Mapping[str, Tensor]) -> None:
    """Refuse weights that are integers or not finite.

    Raises:
        ValueError: It names them.
    """
    integers = [
        n for n, t in converted.items() if not t.is_floating_point() and not n.endswith(COUNTER)
    ]
    if integers:
        raise ValueError(
            f'{first_names(integers)} hold integers: a quantised checkpoint; give the float one'
        )
    broken = [n for n, t in converted.items() if not torch.isfinite(t).all()]
    if broken:
        raise ValueError(
            f'{len(broken)} tensors hold NaN or infinity: {first_names(broken)}. The training run '
            f'that saved them had diverged'
        )
