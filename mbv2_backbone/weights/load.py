"""Load pretrained weights into a backbone, completely or not at all."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from torch import Tensor, nn

from ..arch import TAP_NAMES, build_architecture
from ..common.messages import UserError, first_names
from .checkpoint_files import read_checkpoint
from .classifiers import find_classifier
from .convert import check_values, convert, unwrap
from .folded_norms import NOTE as FOLDED_NOTE
from .folded_norms import folded_norms
from .layouts.schema import COUNTER, Parts, tensor_shapes
from .layouts.tensorflow_names import LAYOUT as TENSORFLOW_LAYOUT
from .layouts.tensorflow_parts import find_parts
from .outcome import Report
from .preprocessing import contradiction, data_preprocessor_of_model, data_preprocessor_of_run
from .sources import fetch
from .whole_parts import Filling, classes_of, fill_parts, own_parts

INIT_CFG_KEYS = {'type', 'checkpoint', 'prefix', 'map_location', 'strict', 'allow_pickle'}


def load_into(
    model: nn.Module,
    source: str | PathLike[str] | Mapping[str, Any],
    *,
    strict: bool = True,
    prefix: str | None = None,
    allow_pickle: bool = False,
    classes: Sequence[str] | None = None,
    name: str | None = None,
) -> Report:
    """Load pretrained weights, or raise and leave the model unchanged.

    Of classifiers, and of TensorFlow's detectors and segmentors, the neck and head are loaded, too,
    if the model has the same; of other checkpoints the backbone and, with `classes`, neck and head.

    Args:
        model: A `MobileNetV2Backbone`, or a detector or segmentor that has it as `backbone`.
        source: A state dict, a training checkpoint, or an address (see `sources.fetch`).
        strict: With `False`, whole layers that are missing from the source keep their values (such
            as `conv2` of an mmseg checkpoint); everything else is still rejected.
        prefix: Where to look in the checkpoint, such as `backbone.`.
        allow_pickle: Let a torch file run arbitrary code on loading. Only for files you trust.
        classes: The model's classes. With them the file may have others: the outputs of equal
            names are loaded, those of the others keep their values.
        name: What messages call a source that was read before.

    Raises:
        UserError: A ValueError; if the source does not fit the whole backbone.
    """
    backbone = model if hasattr(model, 'widen_factor') else getattr(model, 'backbone', model)
    own = _own_tensors(backbone)
    label = name or ('state dict' if isinstance(source, Mapping) else str(source))
    try:
        if isinstance(source, Mapping):
            checkpoint = source
        else:
            checkpoint = read_checkpoint(fetch(str(source)), allow_pickle=allow_pickle)
        converted, report = convert(
            checkpoint,
            prefix=prefix,
            preferred_width=backbone.widen_factor,
            preferred_rounding=backbone.round_to,
        )
        wanted, missing = _select(converted, own, report, backbone, strict)
        parts = None if backbone is model else _parts(checkpoint, report, classes)
        around = fill_parts(model, parts, classes) if parts else Filling({})
        check_values(around.tensors)
    except ValueError as error:
        raise UserError(f'cannot load {label}: {error}') from error

    backbone.load_state_dict(wanted, strict=strict)
    model.load_state_dict(around.tensors, strict=False)
    unused = tuple(name for name in converted if name not in own)
    left_over = {
        reason: kept
        for reason, names in report.left_over.items()
        if (kept := tuple(n for n in names if not {n, report.prefix + n} & around.used))
    }
    if unused:
        left_over['after the last tap'] = unused
    report = replace(
        report,
        source=label,
        filled=len(wanted) + len(around.tensors),
        total=len(own) + len(around.tensors),
        zeroed=(
            *(name for name in report.zeroed if name in wanted),
            *(
                name
                for name in around.tensors
                if name.endswith(COUNTER) and name not in around.used
            ),
        ),
        left_over=left_over,
        missing=tuple(missing),
        notes=(
            *report.notes,
            *around.notes,
            *([FOLDED_NOTE] if folded_norms(model) else []),
        ),
    )
    _warn_of_numerics(backbone, report)
    if around.tensors:
        _warn_of_padding(getattr(model, 'neck', None), 'neck', report)
    _warn_of_preprocessing(model, report)
    return report


def _parts(
    checkpoint: Mapping[str, Any], report: Report, classes: Sequence[str] | None
) -> Parts | None:
    """Return the neck and head in a checkpoint that are to be loaded, too."""
    state_dict, _ = unwrap(checkpoint)
    classifier = find_classifier(state_dict, report)
    if classifier is not None:
        return replace(classifier, classes=classes_of(checkpoint) or classifier.classes)
    if report.layout == TENSORFLOW_LAYOUT.name:
        return find_parts(state_dict)
    return None if classes is None else own_parts(state_dict, classes_of(checkpoint))


def load_pretrained(backbone: nn.Module, cfg: Mapping[str, Any]) -> Report:
    """Load what `init_cfg=dict(type='Pretrained', checkpoint=...)` names, and log the report.

    Args:
        backbone: A `MobileNetV2Backbone`.
        cfg: The `init_cfg`: `checkpoint` and optionally `prefix`, `strict` and `allow_pickle` as
            in `load_into`. `map_location` is accepted; tensors go to the backbone's device.

    Raises:
        ValueError: If a key is unknown or the checkpoint does not fit the whole backbone.
    """
    from mmengine.logging import print_log

    unknown = set(cfg) - INIT_CFG_KEYS
    if unknown or not cfg.get('checkpoint'):
        problem = f'does not know {sorted(unknown)}' if unknown else 'needs a checkpoint'
        raise UserError(
            f"init_cfg=dict(type='Pretrained', ...) {problem}; its keys are {sorted(INIT_CFG_KEYS)}"
        )
    report = load_into(
        backbone,
        cfg['checkpoint'],
        strict=cfg.get('strict', True),
        prefix=cfg.get('prefix'),
        allow_pickle=cfg.get('allow_pickle', False),
    )
    print_log(f'Pretrained backbone: {report}', logger='current')
    return report


def _own_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """Return the backbone's tensors, or raise if pretrained weights cannot go there."""
    if not hasattr(backbone, 'widen_factor') or not hasattr(backbone, 'feature_info'):
        raise ValueError(
            f'expected a MobileNetV2Backbone or a model with one as its backbone, '
            f'got {type(backbone).__name__}'
        )
    own = dict(backbone.state_dict())
    architecture = build_architecture(backbone.widen_factor, round_to=backbone.round_to)
    shapes = tensor_shapes(architecture)
    units = {name.rsplit('.', 2)[0] for name in own if name.endswith('.conv.weight')}
    wanted = [name for name in shapes if name.rsplit('.', 2)[0] in units]
    if set(wanted) != set(own):
        other = sorted(set(own) ^ set(wanted))
        raise ValueError(
            f'pretrained weights need batch norm (norm_cfg type BN or SyncBN, affine, with '
            f'running statistics); this backbone differs in {first_names(other)}'
        )
    return own


def _select(
    converted: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    report: Report,
    backbone: nn.Module,
    strict: bool,
) -> tuple[dict[str, Tensor], list[str]]:
    """Return what goes into the backbone and the names that keep their values."""
    # `convert` uses the config's width wherever the whole checkpoint fits it.
    given = dict(widen_factor=report.widen_factor, round_to=report.round_to)
    asked = dict(widen_factor=backbone.widen_factor, round_to=backbone.round_to)
    if given != asked:
        wrong = [n for n in own if n in converted and converted[n].shape != own[n].shape]
        details = first_names(
            f'{n} is {tuple(converted[n].shape)}, not {tuple(own[n].shape)}' for n in wrong
        )
        changes = ', '.join(f'{k}={v:g}' for k, v in given.items() if asked[k] != v)
        raise ValueError(
            f'this checkpoint is width {report.widen_factor:g}; the config says '
            f'{backbone.widen_factor:g} ({len(wrong)} shapes differ{details and ": "}{details}). '
            f'Set {changes} or use other weights'
        )
    missing = [name for name in own if name not in converted]
    if missing and strict:
        last = [tap for tap in TAP_NAMES if any(n.startswith(f'{tap}.') for n in converted)][-1]
        raise ValueError(
            f'{len(missing)} of the {len(own)} tensors of the backbone are not in the checkpoint '
            f'({report.layout} layout): {first_names(missing)}. It ends with {last}; use other '
            f'weights, or end out_indices there, or strict=False to leave these tensors random'
        )
    return {n: converted[n] for n in own if n in converted}, missing


def _warn_of_numerics(backbone: nn.Module, report: Report) -> None:
    """Warn if the backbone computes differently from the network that was trained."""
    origin, eps = report.origin, backbone.conv1.bn.eps
    _warn_of_padding(backbone, 'backbone', report)
    if not math.isclose(eps, origin.batch_norm_eps, rel_tol=1e-3):
        warnings.warn(
            f'these weights ({report.layout} layout) were trained with batch norm eps '
            f'{origin.batch_norm_eps:g}, the backbone has {eps:g}. Set in the backbone:\n'
            f"norm_cfg=dict(type='BN', eps={origin.batch_norm_eps:g}),",
            stacklevel=3,
        )


def _warn_of_padding(part: nn.Module | None, name: str, report: Report) -> None:
    padding = report.origin.padding
    if getattr(part, 'padding', padding) != padding:
        warnings.warn(
            f"these weights ({report.layout} layout) were trained with padding='{padding}', "
            f"the {name} has '{part.padding}'. Set in the {name}:\npadding='{padding}',",
            stacklevel=4,
        )


def _warn_of_preprocessing(model: nn.Module, report: Report) -> None:
    own = data_preprocessor_of_model(model)
    problem = contradiction(report.origin.preprocessing, own or data_preprocessor_of_run())
    if problem:
        warnings.warn(problem, stacklevel=3)
