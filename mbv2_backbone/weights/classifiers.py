"""Whole classifiers of every library, by the names of our `ImageClassifier`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .convert import convert, detect
from .layouts.schema import Parts
from .outcome import Report

FC = 'head.fc.'
NUM_IMAGENET = 1000
_HEAD = re.compile(r'(.*[./])?(classifier|head\.fc|predictions|Logits|dense)[./]')


def find_classifier(state_dict: Mapping[str, Tensor], report: Report) -> Parts | None:
    """Return the linear layer of a classifier, `None` if there is none.

    TensorFlow's output for the background, the first of 1,001, is left out.

    Args:
        state_dict: The tensors by the library's names.
        report: What `convert` says of them.
    """
    names = report.left_over.get('classifier', ())
    full = [name if name in state_dict else report.prefix + name for name in names]
    found = {state_dict[name].ndim: state_dict[name] for name in full}
    kernel = found.get(2, found.get(4))
    if len(full) != 2 or kernel is None or 1 not in found:
        return None
    weight, bias = kernel.squeeze(), found[1]
    if report.layout in ('keras', 'tensorflow'):
        weight = weight.T.contiguous()
    if report.layout == 'tensorflow' and len(bias) == NUM_IMAGENET + 1:
        weight, bias = weight[1:], bias[1:]
    tensors = {f'{FC}weight': weight, f'{FC}bias': bias}
    return Parts(tensors, imagenet_classes(len(bias)), frozenset(full))


def imagenet_classes(num_classes: int) -> tuple[str, ...] | None:
    """Return the names of ImageNet's classes if there are as many."""
    if num_classes != NUM_IMAGENET:
        return None
    from torchvision.models import MobileNet_V2_Weights

    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta['categories'])


def whole_classifier(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return a classifier as the state dict of ours, `None` if it is none of a known layout.

    Raises:
        ValueError: If it is one, and its backbone is broken or of another width.
    """
    if not any(map(_HEAD.match, state_dict)):
        return None
    try:
        detect(state_dict)
    except ValueError:
        return None
    backbone, report = convert(state_dict)
    head = find_classifier(state_dict, report)
    if head is None:
        return None
    return {f'backbone.{name}': value for name, value in backbone.items()} | head.tensors
