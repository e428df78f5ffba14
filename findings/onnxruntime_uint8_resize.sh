#!/usr/bin/env bash
# Guess: a uint8 image resized bilinearly inside an ONNX graph is rounded, as OpenCV and OpenVINO do.
# Truth (onnxruntime 1.32.0): Resize on uint8 cuts the fraction off. The image is 0.48 grey levels darker on average,
#   a pixel up to 1; OpenVINO 2026.4.1 is right within 0.01 with the same file.
# Hurts: models with their preprocessing inside, and comparisons of onnxruntime with another runtime: all inputs are
#   biased in one direction, which quantised first layers turn into other scores.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 opencv-python-headless==5.0.0.93 numpy==2.4.6
venv/bin/python - <<'PY'
import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

image = np.random.default_rng(0).integers(0, 256, (1, 3, 200, 180), dtype=np.uint8)
node = helper.make_node('Resize', ['x', '', '', 'size'], ['y'], mode='linear')
graph = helper.make_graph(
    [node], 'g', [helper.make_tensor_value_info('x', TensorProto.UINT8, image.shape)],
    [helper.make_tensor_value_info('y', TensorProto.UINT8, None)],
    [helper.make_tensor('size', TensorProto.INT64, [4], [1, 3, 300, 300])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
onnx.save(model, 'resize.onnx')
exact = np.stack([cv2.resize(channel.astype(np.float32), (300, 300)) for channel in image[0]])
session = onnxruntime.InferenceSession('resize.onnx', providers=['CPUExecutionProvider'])
found = {'onnxruntime': session.run(None, {'x': image})[0][0],
         'openvino': openvino.Core().compile_model('resize.onnx', 'CPU')(image)[0][0],
         'opencv': np.stack([cv2.resize(channel, (300, 300)) for channel in image[0]])}
bias = {name: round(float((value - exact).mean()), 3) for name, value in found.items()}
print('mean difference to float, grey levels:', bias)
# Seen: onnxruntime -0.481, openvino 0.0, opencv -0.095
assert bias['onnxruntime'] < -0.4 and abs(bias['openvino']) < 0.02 and abs(bias['opencv']) < 0.2, 'behaviour changed'
PY
