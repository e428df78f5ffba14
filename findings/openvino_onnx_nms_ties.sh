#!/usr/bin/env bash
# Guess: NonMaxSuppression of an ONNX file keeps the same boxes in onnxruntime and OpenVINO: a box goes when its
#   IoU is larger than iou_threshold, as in torchvision.
# Truth (openvino 2026.4.1 on CPU): it goes when its IoU is equal, too. With the input left out (default 0) any
#   two boxes have IoU >= 0, so OpenVINO keeps one box of each class of the whole image.
# Hurts: boxes on whole pixels or on a grid of priors (ties at 0.5 are common there), and models that leave the
#   threshold to the default.
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

feeds = {'boxes': np.array([[[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 5]]], np.float32),
         'scores': np.array([[[0.9, 0.8, 0.7]]], np.float32)}


def kept(threshold):
    constants = [helper.make_tensor('most', TensorProto.INT64, [1], [10])]
    if threshold is not None:
        constants.append(helper.make_tensor('iou', TensorProto.FLOAT, [1], [threshold]))
    node = helper.make_node('NonMaxSuppression', [*feeds, *(c.name for c in constants)], ['y'])
    inputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v.shape) for k, v in feeds.items()]
    outputs = [helper.make_tensor_value_info('y', TensorProto.INT64, [None, 3])]
    graph = helper.make_graph([node], 'g', inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 11)], ir_version=7)
    onnx.save(model, 'nms.onnx')
    session = onnxruntime.InferenceSession('nms.onnx', providers=['CPUExecutionProvider'])
    compiled = openvino.Core().compile_model('nms.onnx', 'CPU')
    return [rows[:, 2].tolist() for rows in (session.run(None, feeds)[0], compiled(feeds)[0])]


seen = {threshold: kept(threshold) for threshold in (0.5, None)}
print('onnxruntime, openvino:', seen)
# Seen: {0.5: [[0, 1, 2], [0, 1]], None: [[0, 1], [0]]}
assert seen == {0.5: [[0, 1, 2], [0, 1]], None: [[0, 1], [0]]}, 'behaviour changed'
PY
