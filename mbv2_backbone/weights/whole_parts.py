"""Fill the neck and head of a model from another model's, whose classes may be others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..common.messages import first_names
from .classifiers import FC, whole_classifier
from .convert import convert
from .layouts.schema import COUNTER, Parts
from .layouts.tensorflow_names import LAYOUT
from .layouts.tensorflow_parts import find_parts

ROOTS = ('neck.', 'bbox_head.', 'decode_head.', FC)
_MASKS = 'decode_head.conv_seg.'
_BOX_CODES = 'bbox_head.reg_convs.'
_CLASSES = 'bbox_head.cls_convs.'


@dataclass(frozen=True)
class Filling:
    """What fills a model around its backbone.

    Attributes:
        tensors: By the model's names.
        used: The names of those of them in the checkpoint.
        notes: What the user should know, one sentence each.
    """

    tensors: Mapping[str, Tensor]
    used: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def classes_of(checkpoint: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the classes that a checkpoint of mmengine states."""
    meta = checkpoint.get('meta')
    dataset = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    return tuple((dataset or {}).get('classes') or ()) or None


def own_parts(state_dict: Mapping[str, Tensor], classes: tuple[str, ...] | None) -> Parts | None:
    """Return the parts of a checkpoint of a whole model of ours, mmdet's or mmseg's."""
    tensors = {
        name: value
        for key, value in state_dict.items()
        if (name := key.removeprefix('module.')).startswith(ROOTS)
    }
    return Parts(tensors, classes, frozenset(state_dict)) if tensors else None


def fill_parts(model: nn.Module, parts: Parts, classes: Sequence[str] | None) -> Filling:
    """Choose what of trained parts goes into a model.

    Args:
        model: A detector, segmentor or classifier.
        parts: The trained parts.
        classes: The model's classes, if the parts may have others. The outputs of equal names are
            taken; the others keep their values.

    Raises:
        ValueError: If a shape differs.
    """
    own = {name: value for name, value in model.state_dict().items() if name.startswith(ROOTS)}
    roots = {name.partition('.')[0] for name in own}
    wanted = {k: v for k, v in parts.tensors.items() if k.partition('.')[0] in roots}
    if not wanted:
        return Filling({})  # a detector for a segmentor, or the reverse
    needed = [name for name in own if not name.endswith(COUNTER)]
    other = [name for name in needed if name not in wanted]
    other += [name for name in wanted if name not in own]
    if other:
        note = f'neck and head are built otherwise and keep their values: {first_names(other)}'
        return Filling({}, notes=(note,))
    wanted, notes = _fit_classes(wanted, own, parts.classes, classes)
    wrong = [
        f'{name} is {tuple(wanted[name].shape)}, not {tuple(own[name].shape)}'
        for name in needed
        if wanted[name].shape != own[name].shape
    ]
    if wrong:
        raise ValueError(
            f'the neck and head do not fit: {first_names(wrong)}. Channels, priors for each cell '
            f'and use_sigmoid must be those of the checkpoint'
        )
    for name in own:
        wanted.setdefault(name, torch.zeros((), dtype=torch.long))  # the counters of batch norms
    return Filling(wanted, parts.used, notes)


def _fit_classes(
    wanted: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    names: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Put the outputs of equal classes where the model has them; say what became of each class."""
    rows = [name for name in own if name.startswith((_MASKS, FC)) or _is_score(name)]
    same_number = all(wanted[name].shape == own[name].shape for name in rows)
    known = tuple(names or ())
    if same_number and (not classes or not known or known == tuple(classes)):
        return dict(wanted), ()
    if not classes:
        raise ValueError(
            f'{rows[-1]} has {len(wanted[rows[-1]])} outputs in the checkpoint and '
            f'{len(own[rows[-1]])} in the model, whose classes are others; give the '
            f"names of the model's, for example --cfg-options classes=\"('person',)\", so that "
            f'those of equal names are taken and the others start anew'
        )
    taken = {i: known.index(name) for i, name in enumerate(classes) if name in known}
    fitted = dict(wanted)
    for name in rows:
        fitted[name] = _fit_rows(name, wanted, own, taken, (len(known), len(classes)))
    kept = [classes[i] for i in taken]
    new = [name for i, name in enumerate(classes) if i not in taken]
    notes = (
        *((f'classes taken: {first_names(kept)}',) if kept else ()),
        *((f'classes that start anew: {first_names(new)}',) if new else ()),
    )
    return fitted, notes


def _fit_rows(
    name: str,
    wanted: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    taken: Mapping[int, int],
    numbers: tuple[int, int],
) -> Tensor:
    """Return the outputs of one predictor of classes, `(A * outputs, ...)`."""
    num_priors = 1
    if name.startswith(_CLASSES):
        num_priors = len(own[name.replace(_CLASSES, _BOX_CODES)]) // 4
    source = wanted[name].unflatten(0, (num_priors, -1))
    target = own[name].clone().unflatten(0, (num_priors, -1))
    if target.shape[2:] != source.shape[2:]:
        return wanted[name]  # refused with the other shapes
    for new, old in taken.items():
        target[:, new] = source[:, old]
    # A softmax's background comes last.
    extra = source.shape[1] - numbers[0], target.shape[1] - numbers[1]
    if extra == (1, 1):
        target[:, -1] = source[:, -1]
    return target.flatten(0, 1)


def _is_score(name: str) -> bool:
    return name.startswith(_CLASSES) and name.split('.')[3] == '1'


def renamed(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return what `in_our_names` does, `None` if the names are ours already."""
    ours = in_our_names(state_dict)
    return ours if ours.keys() - state_dict.keys() else None


def in_our_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return TensorFlow's variables, or any classifier, as the state dict of a whole model of ours.

    Others are unchanged.

    Raises:
        ValueError: If they are of a network that is not read.
    """
    classifier = whole_classifier(state_dict)
    if classifier or not LAYOUT.find_prefixes(state_dict):
        return classifier or dict(state_dict)
    backbone, _ = convert(state_dict)
    parts = find_parts(state_dict)
    around = dict(parts.tensors) if parts else {}
    counters = {
        f'{name.rpartition(".")[0]}.{COUNTER}': torch.zeros((), dtype=torch.long)
        for name in around
        if name.endswith('.running_mean')
    }
    return {f'backbone.{name}': value for name, value in backbone.items()} | around | counters
