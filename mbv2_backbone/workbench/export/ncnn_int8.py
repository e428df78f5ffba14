"""Post-training quantisation for ncnn: what its own ncnn2table and ncnn2int8 do, in numpy.

All convolutions but the first, and a classifier's linear layer, multiply 8 bits, from -127 to 127:
weights have a scale per output channel, inputs one scale, from the largest magnitude that
calibration meets. Additions, the head's decoding and NMS stay in float32. A convolution whose
output only such ones read writes 8 bits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import ncnn
import numpy as np

from ...common.messages import UserError
from ...common.progress import track
from ...deploy.ncnn_runtime import open_net, planes
from .int8 import between_convolutions
from .ncnn_layers import Layer, NcnnModel

_LINEAR = 'InnerProduct'
_CONVOLUTIONS = ('Convolution', 'ConvolutionDepthWise', _LINEAR)
_NUM_OUTPUT, _HAS_BIAS, _NUM_WEIGHTS, _GROUPS, _SCALE_TERM = 0, 5, 6, 7, 8
_REQUANTISES = 100  # added to the scale term
_FLOAT32_TAG, _INT8_TAG = 0, 0x000D4B38


def quantise(model: NcnnModel, images: Sequence[np.ndarray]) -> NcnnModel:
    """Quantise the convolutions of a float32 model.

    Args:
        model: The model.
        images: Calibration inputs `(H, W, 3)` RGB of the model's input size and type.

    Raises:
        UserError: If the model has layers whose weights are not known here.
    """
    sources = _sources(model.layers)
    convolutions = _later_convolutions(model.layers)
    magnitudes = largest_magnitudes(
        model, sorted({sources[layer.inputs[0]] for layer in convolutions}), images
    )
    scales = {name: 127 / value if value > 0 else 1.0 for name, value in magnitudes.items()}
    requantised = _read_by_alone(convolutions, model.layers, sources)
    layers, weights = [], []
    for layer, arrays in weights_of(model):
        if layer in convolutions:
            output = layer.outputs[0]
            top = scales[output] if output in requantised else None
            layer, data = _quantised(layer, arrays, scales[sources[layer.inputs[0]]], top)
        else:
            data = b''.join(array.tobytes() for array in arrays)
        layers.append(layer)
        weights.append(data)
    return NcnnModel(tuple(layers), b''.join(weights))


def largest_magnitudes(
    model: NcnnModel, names: Sequence[str], images: Sequence[np.ndarray]
) -> dict[str, float]:
    """Run a model on images; return the largest magnitude in each of some blobs."""
    found = dict.fromkeys(names, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'model.param')
        path.write_text(model.to_text(), encoding='utf-8')
        path.with_suffix('.bin').write_bytes(model.weights)
        net = open_net(ncnn, str(path), 1)
    for image in track(images, 'Calibrating', unit='images'):
        extractor = net.create_extractor()
        extractor.set_light_mode(False)  # blobs in the middle are kept
        array = planes(image)
        extractor.input('image', ncnn.Mat(array))
        for name in names:
            _, blob = extractor.extract(name)
            found[name] = max(found[name], float(np.abs(np.array(blob)).max()))
    return found


def weights_of(model: NcnnModel) -> list[tuple[Layer, list[np.ndarray]]]:
    """Return each layer of a float32 model with its weights, as they are in the file.

    Those of convolutions and inner products are: a tag, weights, and the bias if there is one.

    Raises:
        UserError: If the layers do not account for all of the file.
    """
    words = np.frombuffer(model.weights, '<f4')
    position, result = 0, []
    for layer in model.layers:
        arrays = []
        for size in _sizes(layer):
            arrays.append(words[position : position + size])
            position += size
        result.append((layer, arrays))
    if position != len(words):
        raise UserError(
            f'--int8 knows the weights of {", ".join(_CONVOLUTIONS)} and MemoryData; '
            f'this model has others ({position} of {len(words)} numbers were read)'
        )
    return result


def _sizes(layer: Layer) -> list[int]:
    if layer.kind == 'MemoryData':
        return [int(np.prod([layer.number(key) or 1 for key in (0, 1, 2, 11)]))]
    if layer.kind not in _CONVOLUTIONS:
        return []
    bias, num_weights = (1, 2) if layer.kind == _LINEAR else (_HAS_BIAS, _NUM_WEIGHTS)
    sizes = [1, layer.number(num_weights)]
    return [*sizes, layer.number(_NUM_OUTPUT)] if layer.number(bias) else sizes


def _quantised(
    layer: Layer, arrays: Sequence[np.ndarray], bottom_scale: float, top_scale: float | None
) -> tuple[Layer, bytes]:
    """Return a convolution that takes 8 bits, and its weights.

    Args:
        layer: The convolution.
        arrays: Its tag, weights and bias.
        bottom_scale: 8-bit steps per unit of its input.
        top_scale: The same of its output, if that is 8 bits too.
    """
    tag, weights, *bias = arrays
    if tag.view(np.int32)[0] != _FLOAT32_TAG:
        raise UserError(f'--int8 needs float32 weights; those of {layer.name} are not')
    depthwise = layer.kind == 'ConvolutionDepthWise'
    rows = weights.reshape(layer.number(_GROUPS if depthwise else _NUM_OUTPUT), -1)
    magnitude = np.abs(rows).max(1)
    scales = np.where(magnitude > 0, _levels(layer) / np.maximum(magnitude, 1e-30), 1.0)
    steps = np.round(rows * scales[:, None]).clip(-127, 127).astype(np.int8).tobytes()
    term = (1 if depthwise else 2) + (0 if top_scale is None else _REQUANTISES)
    ends = [bottom_scale] if top_scale is None else [bottom_scale, top_scale]
    data = [
        np.array([_INT8_TAG], '<i4').tobytes(),
        steps + bytes(-len(steps) % 4),
        *(array.tobytes() for array in bias),
        scales.astype('<f4').tobytes(),
        np.array(ends, '<f4').tobytes(),
    ]
    return layer.with_params({_SCALE_TERM: term}), b''.join(data)


def _levels(layer: Layer) -> int:
    """Return the largest weight: ncnn's Winograd kernel for 3x3 has room for 6 bits."""
    width = layer.number(1)
    height = layer.number(11, width)
    steps = {layer.number(key, 1) for key in (2, 3, 12, 13)}
    is_winograd = layer.kind == 'Convolution' and (height, width) == (3, 3) and steps == {1}
    return 31 if is_winograd else 127


def _sources(layers: Sequence[Layer]) -> dict[str, str]:
    """Return for each blob the one that it is a copy of, or itself."""
    sources: dict[str, str] = {}
    for layer in layers:
        for name in layer.outputs:
            sources[name] = sources[layer.inputs[0]] if layer.kind == 'Split' else name
    return sources


def _later_convolutions(layers: Sequence[Layer]) -> list[Layer]:
    """Return the convolutions that `int8` quantises."""
    producer = {name: i for i, layer in enumerate(layers) for name in layer.outputs}
    inputs = [[producer[name] for name in layer.inputs] for layer in layers]
    is_conv = [layer.kind in _CONVOLUTIONS for layer in layers]
    return [layers[i] for i in between_convolutions(inputs, is_conv) if is_conv[i]]


def _read_by_alone(
    chosen: Sequence[Layer], layers: Sequence[Layer], sources: Mapping[str, str]
) -> set[str]:
    readers: dict[str, set[bool]] = {}
    for layer in layers:
        for name in layer.inputs if layer.kind != 'Split' else ():
            readers.setdefault(sources[name], set()).add(layer in chosen)
    return {name for name, kinds in readers.items() if kinds == {True}}
