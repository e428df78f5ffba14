"""Post-training quantisation: 8-bit weights (one scale per channel) and activations.

Only the part between the first and the last convolution is quantised: convolutions and the
additions of the residual blocks. Normalisation, box decoding, softmax and NMS stay in float32.
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
    import openvino


def quantise_onnx(
    model: onnx.ModelProto, images: Sequence[np.ndarray], batch_size: int
) -> onnx.ModelProto:
    """Quantise an ONNX model with onnxruntime's tools (QDQ form).

    Weights get 7 bits: processors without 8-bit dot products (VNNI) add up pairs in 16 bits,
    which 8-bit weights would overflow.

    Args:
        model: The float32 model.
        images: Calibration inputs `(H, W, 3)` RGB of the model's input size and type.
        batch_size: Images in a call.
    """
    import onnx
    from onnxruntime import quantization as ortq

    inputs = ({'image': batch} for batch in _batches(images, batch_size))
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
            reduce_range=True,
            op_types_to_quantize=['Conv', 'Add', 'Clip'],
            nodes_to_quantize=_nodes_to_quantise(model),
            calibrate_method=ortq.CalibrationMethod.MinMax,
        )
        return onnx.load(target)


def _batches(images: Sequence[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(images) - batch_size + 1, batch_size):
        yield np.stack(images[start : start + batch_size])


def _nodes_to_quantise(model: onnx.ModelProto) -> list[str]:
    nodes = list(model.graph.node)
    producer = {name: i for i, node in enumerate(nodes) for name in node.output}
    inputs = [[producer[name] for name in node.input if name in producer] for node in nodes]
    chosen = between_convolutions(inputs, [node.op_type == 'Conv' for node in nodes])
    return [nodes[i].name for i in chosen if nodes[i].op_type in ('Conv', 'Add', 'Clip')]


def between_convolutions(inputs: Sequence[Iterable[int]], is_conv: Sequence[bool]) -> list[int]:
    """Return the nodes of a graph that are convolutions, or come after one and before another.

    Args:
        inputs: For each node, in topological order, the nodes that it reads from.
        is_conv: For each node whether it is a convolution.
    """
    after, before = list(is_conv), list(is_conv)
    for i, sources in enumerate(inputs):
        after[i] = after[i] or any(after[source] for source in sources)
    for i in reversed(range(len(inputs))):
        for source in inputs[i]:
            before[source] = before[source] or before[i]
    return [i for i in range(len(inputs)) if after[i] and before[i]]


def quantise_openvino(
    model: openvino.Model, images: Sequence[np.ndarray], batch_size: int
) -> openvino.Model:
    """Quantise an OpenVINO model with NNCF; arguments as for `quantise_onnx`."""
    import nncf

    operations = model.get_ordered_ops()
    index = {op.get_friendly_name(): i for i, op in enumerate(operations)}
    inputs = [
        [index[value.get_node().get_friendly_name()] for value in op.input_values()]
        for op in operations
    ]
    kinds = [op.get_type_name() for op in operations]
    is_conv = [kind in ('Convolution', 'GroupConvolution') for kind in kinds]
    chosen = set(between_convolutions(inputs, is_conv))
    ignored = [
        op.get_friendly_name()
        for i, op in enumerate(operations)
        if i not in chosen and kinds[i] not in ('Constant', 'Parameter', 'Result')
    ]
    return nncf.quantize(
        model,
        nncf.Dataset(list(_batches(images, batch_size))),
        preset=nncf.QuantizationPreset.MIXED,
        # 7 bits for weights, as in `quantise_onnx`.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE
        ),
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
    )
