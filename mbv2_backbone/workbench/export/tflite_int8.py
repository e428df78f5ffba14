"""8-bit `.tflite` models: weights with one scale per channel, activations with one per tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ...common.messages import UserError
from .int8 import between_convolutions
from .tflite_model import SIGNATURE, kind_of, pack, read

_KINDS = schema.BuiltinOperator
_CONVOLUTIONS = (_KINDS.CONV_2D, _KINDS.DEPTHWISE_CONV_2D, _KINDS.FULLY_CONNECTED)
_CHOSEN = (
    _KINDS.CONV_2D,
    _KINDS.DEPTHWISE_CONV_2D,
    _KINDS.ADD,
    _KINDS.PAD,
    _KINDS.CONCATENATION,
    _KINDS.RESHAPE,
    _KINDS.RESIZE_BILINEAR,
    _KINDS.RESIZE_NEAREST_NEIGHBOR,
)
_INTEGERS = (schema.TensorType.INT8, schema.TensorType.INT32)
_MOST_BIAS = 2**30  # of a bias in units of its scale; int32 holds twice as many


def quantise(model: schema.ModelT, images: Sequence[np.ndarray]) -> schema.ModelT:
    """Quantise what `int8` does: from the second convolution to the last, and additions there.

    A linear layer computes its input's range for each image, and gives float32.

    Args:
        model: The float32 model, with tensors named as `tflite_model.cut` names them.
        images: Calibration inputs `(H, W, 3)` RGB of the model's input size, 0 to 255.
    """
    graph = model.subgraphs[0]
    producer = {index: i for i, op in enumerate(graph.operators) for index in op.outputs}
    inputs = [[producer[i] for i in op.inputs if i in producer] for op in graph.operators]
    kinds = [kind_of(model, op) for op in graph.operators]
    chosen = between_convolutions(inputs, [kind in _CONVOLUTIONS for kind in kinds])
    names = {i: graph.tensors[graph.operators[i].outputs[0]].name for i in chosen}
    fixed, linear = (
        f'^({"|".join(name for i, name in names.items() if kinds[i] in wanted)});$'
        for wanted in (_CHOSEN, (_KINDS.FULLY_CONNECTED,))
    )
    return _quantised(model, images, fixed, linear)


def quantise_all(model: schema.ModelT, images: Sequence[np.ndarray]) -> schema.ModelT:
    """Quantise every operator, the input and the outputs; arguments as for `quantise`.

    Raises:
        UserError: If an operator stays in float32.
    """
    result = _quantised(model, [image.astype(np.float32) for image in images], '.*')
    kinds = {value: name for name, value in vars(_KINDS).items() if isinstance(value, int)}
    tensors = result.subgraphs[0].tensors
    left = {
        kinds[kind_of(result, op)]
        for op in result.subgraphs[0].operators
        if any(tensors[i].type not in _INTEGERS for i in (*op.inputs, *op.outputs) if i >= 0)
    }
    left -= {'QUANTIZE', 'DEQUANTIZE'}  # around the others
    if left:
        raise UserError(
            f'--int8 strict leaves {", ".join(sorted(left))} of this model in float32, which '
            f'microcontrollers do not run; use --int8'
        )
    return result


def _quantised(
    model: schema.ModelT, images: Sequence[np.ndarray], operators: str, linear: str | None = None
) -> schema.ModelT:
    from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe_manager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    recipe = recipe_manager.RecipeManager()
    recipe.add_static_config(operators, qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
    if linear:
        recipe.add_dynamic_config(linear, qtyping.TFLOperationName.FULLY_CONNECTED, 8)
    # The quantiser's default is a moving average, which follows the last images.
    calibration = calibrator.Calibrator(pack(model), num_threads=1, qsv_update_func=min_max_update)
    calibration.calibrate({SIGNATURE: [{'image': x[None]} for x in images]}, recipe)
    ranges = calibration.get_model_qsvs()
    if 'image' in ranges:  # a level for each value of a pixel
        limits = dict(min=0.0, max=255.0)
        ranges['image'] = {key: np.full_like(ranges['image'][key], limits[key]) for key in limits}
    _widen_dead_channels(model, ranges)
    maker = quantizer.Quantizer(bytearray(pack(model)), recipe.get_quantization_recipe())
    made = maker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return read(made.quantized_model)


def _widen_dead_channels(model: schema.ModelT, ranges: dict) -> None:
    """Raise a weight of the channels whose bias int32 could not hold otherwise, in place.

    The scale of a bias is that of the input times that of the channel's weights, which is next to
    nothing where they died in training. Some 1e-6 in one of them keeps the bias.
    """
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if kind_of(model, operator) not in _CONVOLUTIONS:
            continue
        source, weight, bias = (graph.tensors[index] for index in operator.inputs[:3])
        found = ranges.get(source.name)
        if not found:
            continue
        span = max(float(np.max(found['max'])), 0) - min(float(np.min(found['min'])), 0)
        values = _floats(model, weight).reshape(weight.shape).copy()
        axis = 3 if kind_of(model, operator) == _KINDS.DEPTHWISE_CONV_2D else 0
        channels = np.moveaxis(values, axis, 0)
        # Weights have the levels -127 to 127, and the input has 255 steps.
        least = 127 * np.abs(_floats(model, bias)) / (max(span, 1e-9) / 255 * _MOST_BIAS)
        dead = np.abs(channels).reshape(len(channels), -1).max(1) < least
        channels[(dead, *[0] * (channels.ndim - 1))] = least[dead]
        model.buffers[weight.buffer].data = np.frombuffer(values.tobytes(), np.uint8)


def _floats(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
