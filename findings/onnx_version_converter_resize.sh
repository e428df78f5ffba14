#!/usr/bin/env bash
# Guess: onnx.version_converter keeps what a model computes, as its RoiAlign rule does (it writes the old
#   coordinate mode into the new node).
# Truth (onnx 1.23.2): for Resize and Upsample it writes nothing. Opset 10 samples asymmetrically; from
#   opset 11 the default is half_pixel, so every bilinear upsampling moves by up to half a pixel.
# Hurts: old SSD/FPN and DeepLab exports lifted to a newer opset: masks and features shift, no warning;
#   nearest upsampling by 2 stays right, so a test on an FPN passes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, version_converter


def run(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, {'x': np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)})[0].ravel()


graph = helper.make_graph(
    [helper.make_node('Resize', ['x', 'scales'], ['y'], mode='linear')], 'g',
    [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 1, 1, 4])],
    [helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 1, 1, 8])],
    [helper.make_tensor('scales', TensorProto.FLOAT, [4], [1, 1, 1, 2])])
old = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 10)], ir_version=5)
new = version_converter.convert_version(old, 13)
print('opset 10', run(old), '\nopset 13', run(new), [a.name for a in new.graph.node[-1].attribute])
# Seen: [0 0.5 1 1.5 2 2.5 3 3] and [0 0.25 0.75 1.25 1.75 2.25 2.75 3] ['mode']
assert np.allclose(run(old), [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]), 'onnxruntime changed'
assert np.allclose(run(new), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]), 'behaviour changed'
PY
