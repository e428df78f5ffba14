"""Post-training quantisation: 8-bit weights (one scale per channel) and activations.

Only what comes after the first convolution is quantised, up to the last one: convolutions and the
additions of the residual blocks; the linear layer of a classifier is one of them. Normalisation,
box decoding, softmax and NMS stay in float32. So does the first convolution: in 8 bits it caused
40 % of the squared error of the boxes.
ReLU6 costs nothing: a calibrated range never exceeds [0, 6], so that saturating at the ends of
the 8-bit range does the clipping, and the runtimes drop the operator.
"""

from __future__ import annotations

import os.path as osp
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_CONVOLUTIONS = ('Conv', 'Gemm')  # the latter of linear layers, one row of weights per output
_QUANTISED = (*_CONVOLUTIONS, 'Add', 'Clip')


def quantise_onnx(
    model: onnx.ModelProto, images: Sequence[np.ndarray], batch_size: int
) -> onnx.ModelProto:
    """Quantise an ONNX model with onnxruntime's tools (QDQ form), which OpenVINO reads too.

    Args:
        model: The float32 model.
        images: Calibration inputs `(H, W, 3)` RGB of the model's input size and type.
        batch_size: Images in a call.
    """
    import onnx
    from onnxruntime import quantization as ortq

    inputs = ({'image': batch} for batch in _batches(images, batch_size))
    chosen = _nodes_to_quantise(model)
    with tempfile.TemporaryDirectory() as folder:
        source, target = osp.join(folder, 'float32.onnx'), osp.join(folder, 'int8.onnx')
        onnx.save(onnx.shape_inference.infer_shapes(model), source)
        ortq.quantize_static(
            source,
            target,
            SimpleNamespace(get_next=lambda: next(inputs, None)),
            quant_format=ortq.QuantFormat.QDQ,
            activation_type=ortq.QuantType.QUInt8,
            weight_type=ortq.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_quantize=chosen,
            calibrate_method=ortq.CalibrationMethod.MinMax,
            extra_options=dict(
                TensorQuantOverrides=_weight_ranges(model, chosen),
                OpTypesToExcludeOutputQuantization=['Gemm'],  # steps of 8 bits would make ties
            ),
        )
        return onnx.load(target)


def _batches(images: Sequence[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(images) - batch_size + 1, batch_size):
        yield np.stack(images[start : start + batch_size])


def _nodes_to_quantise(model: onnx.ModelProto) -> list[str]:
    nodes = list(model.graph.node)
    producer = {name: i for i, node in enumerate(nodes) for name in node.output}
    inputs = [[producer[name] for name in node.input if name in producer] for node in nodes]
    chosen = between_convolutions(inputs, [node.op_type in _CONVOLUTIONS for node in nodes])
    return [nodes[i].name for i in chosen if nodes[i].op_type in _QUANTISED]


def _weight_ranges(model: onnx.ModelProto, nodes: Sequence[str]) -> dict[str, list[dict]]:
    """Return the range of each channel of the weights, for onnxruntime's quantiser.

    Processors without 8-bit dot products (VNNI) add up the products of two neighbouring inputs in
    16 bits: the sum of their weights must not pass the range either. Depthwise ones use 32 bits.
    """
    import onnx
    from onnxruntime.quantization import QuantType

    values = {tensor.name: tensor for tensor in model.graph.initializer}
    ranges = {}
    for node in model.graph.node:
        if node.op_type not in _CONVOLUTIONS or node.name not in nodes:
            continue
        weight = onnx.numpy_helper.to_array(values[node.input[1]])
        rows = weight.reshape(len(weight), -1)
        most = np.abs(rows).max(1)
        if weight.shape[2:] in ((1, 1), ()):
            pairs = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(rows), -1, 2)
            most = np.maximum(most, np.abs(pairs.sum(2)).max(1))
        elif weight.shape[1] > 1:
            most = 2 * most  # which inputs are neighbours depends on the runtime
        common = dict(quant_type=QuantType.QInt8, axis=0, symmetric=True)
        ranges[node.input[1]] = [dict(common, rmin=-value, rmax=value) for value in most]
    return ranges


def between_convolutions(
    inputs: Sequence[Iterable[int]], is_conv: Sequence[bool], *, left_out: int = 1
) -> list[int]:
    """Return the nodes of a graph from the second convolution on its way to the last one.

    Args:
        inputs: For each node, in topological order, the nodes that it reads from.
        is_conv: For each node whether it is a convolution.
        left_out: So many convolutions at the beginning are not among them.
    """
    passed: list[int] = []  # convolutions on the longest way to a node, itself included
    for i, sources in enumerate(inputs):
        passed.append(is_conv[i] + max((passed[source] for source in sources), default=0))
    before = list(is_conv)
    for i in reversed(range(len(inputs))):
        for source in inputs[i]:
            before[source] = before[source] or before[i]
    return [i for i in range(len(inputs)) if passed[i] > left_out and before[i]]
