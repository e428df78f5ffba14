#!/usr/bin/env bash
# Guess: a runtime that reads an ONNX Resize obeys its attributes or refuses the file, as OpenVINO refuses
#   half_pixel_symmetric.
# Truth (openvino 2026.4.1): keep_aspect_ratio_policy and antialias are dropped without a word. 480 x 640 within
#   320 x 320 gives 320 x 320, stretched, where onnxruntime gives 240 x 320; thin things vanish in a downscale.
# Hurts: models with their letterbox resize inside: boxes are off by the aspect ratio, and the first test on a
#   square image is right.
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


def both(image, size, **attributes):
    node = helper.make_node('Resize', ['x', '', '', 'size'], ['y'], mode='linear', axes=[2, 3], **attributes)
    graph = helper.make_graph(
        [node], 'g', [helper.make_tensor_value_info('x', TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)],
        [helper.make_tensor('size', TensorProto.INT64, [2], size)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
    onnx.save(model, 'resize.onnx')
    session = onnxruntime.InferenceSession('resize.onnx', providers=['CPUExecutionProvider'])
    compiled = openvino.Core().compile_model('resize.onnx', 'CPU')
    return session.run(None, {'x': image})[0], compiled(image)[0]


letterbox = [y.shape[2:] for y in both(np.zeros((1, 1, 480, 640), np.float32), [320, 320],
                                       keep_aspect_ratio_policy='not_larger')]
line = np.zeros((1, 1, 1, 16), np.float32)
line[..., 8] = 16
thin = [y.ravel().tolist() for y in both(line, [1, 4], antialias=1)]
print('onnxruntime, openvino:', letterbox, thin)
# Seen: [(240, 320), (320, 320)] [[0.0, 1.5, 2.5, 0.0], [0.0, 0.0, 0.0, 0.0]]
assert letterbox == [(240, 320), (320, 320)], 'behaviour changed'
assert np.allclose(thin, [[0, 1.5, 2.5, 0], [0, 0, 0, 0]]), 'behaviour changed'
PY
