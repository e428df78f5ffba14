"""The parts of TensorFlow's SSDLite and DeepLab around the backbone, by our names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from .schema import Parts
from .tensorflow_names import layer_of, rename_layers

NUM_COCO_OUTPUTS = 91
"""Outputs of the Object Detection API's COCO models: the background, and COCO's ids 1 to 90."""
NUM_VOC_OUTPUTS = 21
"""Outputs of DeepLab's VOC models: the background and VOC's 20 classes."""
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""The ids that no category has."""

_LAYERS = (
    (r'.*/layer_19_1_Conv2d_(\d+)_1x1_\d+', 'neck.extra_layers.{}.0'),
    (r'.*/layer_19_2_Conv2d_(\d+)_3x3_s2_\d+_depthwise', 'neck.extra_layers.{}.1.depthwise_conv'),
    (r'.*/layer_19_2_Conv2d_(\d+)_3x3_s2_\d+', 'neck.extra_layers.{}.1.pointwise_conv'),
    (r'BoxPredictor_(\d+)/BoxEncodingPredictor_depthwise', 'bbox_head.reg_convs.{}.0'),
    (r'BoxPredictor_(\d+)/BoxEncodingPredictor', 'bbox_head.reg_convs.{}.1'),
    (r'BoxPredictor_(\d+)/ClassPredictor_depthwise', 'bbox_head.cls_convs.{}.0'),
    (r'BoxPredictor_(\d+)/ClassPredictor', 'bbox_head.cls_convs.{}.1'),
    (r'image_pooling()', 'decode_head.image_pool.conv'),
    (r'aspp(\d+)', 'decode_head.aspp_modules.{}'),
    (r'aspp(\d+)_depthwise', 'decode_head.aspp_modules.{}.depthwise_conv'),
    (r'aspp(\d+)_pointwise', 'decode_head.aspp_modules.{}.pointwise_conv'),
    (r'concat_projection()', 'decode_head.bottleneck'),
    (r'logits/semantic()', 'decode_head.conv_seg'),
)
_FIRST_EXTRA_MAP = 2  # their number in `layer_19_2_Conv2d_2_3x3_s2_512`
# What other networks have, and SSDLite and DeepLabV3 have not.
_OTHERS = (
    (r'FeatureExtractor/(?:MobilenetV2/)?fpn/', 'SSD with a feature pyramid (FPN)'),
    (r'WeightSharedConvolutionalBoxPredictor', 'SSD with a box predictor that levels share (FPN)'),
    (r'(.*/)?MobilenetV1/', 'a MobileNetV1'),
    (r'(.*/)?MobilenetV3/', 'a MobileNetV3'),
    (r'(.*/)?(InceptionV\d|InceptionResnetV2)/', 'an Inception network'),
    (r'(.*/)?resnet_v\d_\d+/', 'a ResNet'),
    (r'(.*/)?xception_\d+/', 'an Xception network'),
    (r'decoder/', 'DeepLabV3+ with a decoder'),
)
_PLAIN_SSD = 'SSD with plain convolutions, not SSDLite'


def find_parts(state_dict: Mapping[str, Tensor]) -> Parts | None:
    """Return the neck and head of SSDLite, or the head of DeepLab; `None` without either.

    The outputs of classes are in their order, in a detector without the background.

    Raises:
        ValueError: If they are of another network; says which.
    """
    layers = dict(_our_modules(map(layer_of, state_dict)))
    predicts_boxes = any(module.startswith('bbox_head') for module in layers.values())
    other = other_network(state_dict)
    if predicts_boxes and 'bbox_head.reg_convs.0.0' not in layers.values():
        other = other or _PLAIN_SSD
    if other:
        raise ValueError(f'the file is of {other}; only SSDLite and DeepLabV3 are read as a whole')
    used = {name: tensor for name, tensor in state_dict.items() if layer_of(name) in layers}
    tensors, _ = rename_layers(used, layers)
    if not tensors:
        return None
    num_outputs = 0
    for name, tensor in tensors.items():
        if re.fullmatch(r'bbox_head\.reg_convs\.\d+\.1\.\w+', name):
            # TensorFlow codes a box as y, x, height, width.
            tensors[name] = by_prior(tensor, 4)[:, [1, 0, 3, 2]].flatten(0, 1)
        elif re.fullmatch(r'bbox_head\.cls_convs\.\d+\.1\.\w+', name):
            num_priors = len(tensors[name.replace('cls_convs', 'reg_convs')]) // 4
            num_outputs = len(tensor) // num_priors
            kept = _columns_of_classes(num_outputs)
            tensors[name] = by_prior(tensor, num_outputs)[:, kept].flatten(0, 1)
    classes = _detected(num_outputs) if predicts_boxes else _segmented(tensors)
    return Parts(tensors, classes, frozenset(used))


# The files do not name their classes; the numbers of these two do.
def _detected(num_outputs: int) -> tuple[str, ...] | None:
    if num_outputs != NUM_COCO_OUTPUTS:
        return None
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


def _segmented(tensors: Mapping[str, Tensor]) -> tuple[str, ...] | None:
    if len(tensors.get('decode_head.conv_seg.bias', ())) != NUM_VOC_OUTPUTS:
        return None
    from mmseg.datasets import PascalVOCDataset

    return PascalVOCDataset.METAINFO['classes']


def by_prior(tensor: Tensor, num_values: int) -> Tensor:
    """View the output channels `(A * num_values, ...)` of a predictor as `(A, num_values, ...)`."""
    return tensor.unflatten(0, (-1, num_values))


def _columns_of_classes(num_outputs: int) -> list[int]:
    gaps = COCO_GAPS if num_outputs == NUM_COCO_OUTPUTS else ()
    return [column for column in range(1, num_outputs) if column not in gaps]


def other_network(names: Iterable[str]) -> str | None:
    """Say which other network the variables are of, or return `None`."""
    patterns = [(re.compile(pattern), what) for pattern, what in _OTHERS]
    names = list(names)
    return next((what for pattern, what in patterns if any(map(pattern.match, names))), None)


def _our_modules(layers: Iterable[str]) -> Iterable[tuple[str, str]]:
    for layer in set(layers):
        for pattern, module in _LAYERS:
            found = re.fullmatch(pattern, layer)
            if found:
                first = _FIRST_EXTRA_MAP if 'extra_layers' in module else 0
                yield layer, module.format(int(found[1]) - first) if found[1] else module
                break
