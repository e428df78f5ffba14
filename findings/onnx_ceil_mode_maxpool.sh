#!/usr/bin/env bash
# Guess: onnx.shape_inference and the reference evaluator of the same package agree on the size of a MaxPool
#   with ceil_mode, and so do the runtimes.
# Truth (onnx 1.23.2): for 8 x 8, kernel 3, stride 3, padding 1 the inferred shape is 4 x 4; the reference
#   evaluator and onnxruntime 1.32.0 compute 3 x 3 (no window may start in the right padding, as in PyTorch);
#   OpenVINO 2026.4.1 computes 4 x 4 for MaxPool, and 3 x 3 for AveragePool.
# Hurts: tools that plan from inferred shapes (priors for each feature map, memory, converters): one row and
#   one column of cells too many.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PY'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

image = np.zeros((1, 1, 8, 8), np.float32)


def sizes(op_type):
    node = helper.make_node(op_type, ['x'], ['y'], kernel_shape=[3, 3], strides=[3, 3], pads=[1] * 4, ceil_mode=1)
    graph = helper.make_graph(
        [node], 'g', [helper.make_tensor_value_info('x', TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 12)], ir_version=7)
    onnx.save(model, 'pool.onnx')
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim
    session = onnxruntime.InferenceSession('pool.onnx', providers=['CPUExecutionProvider'])
    return {'inferred': inferred[2].dim_value,
            'reference': ReferenceEvaluator(model).run(None, {'x': image})[0].shape[2],
            'onnxruntime': session.run(None, {'x': image})[0].shape[2],
            'openvino': openvino.Core().compile_model('pool.onnx', 'CPU')(image)[0].shape[2]}


seen = {op_type: sizes(op_type) for op_type in ('MaxPool', 'AveragePool')}
print(seen)
# Seen: MaxPool 4, 3, 3, 4; AveragePool 4, 3, 3, 3
assert list(seen['MaxPool'].values()) == [4, 3, 3, 4], 'behaviour changed'
assert list(seen['AveragePool'].values()) == [4, 3, 3, 3], 'behaviour changed'
PY
