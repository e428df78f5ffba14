#!/usr/bin/env bash
# Guess: num_detections of TFLite_Detection_PostProcess says how many rows of boxes, classes and scores are
#   filled, and every filled row has a score of at least nms_score_threshold.
# Truth (ai-edge-litert 2.3.0, fast NMS): with max_classes_per_detection 2 it counts anchors, half the rows,
#   and the second class of a kept anchor comes out whatever its score is.
# Hurts: readers that take rows[:num_detections]: they lose half of the rows, the ones of
#   the weaker boxes; and readers that trust the threshold in the model and take all rows.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q ai-edge-litert==2.3.0 numpy==2.4.6 flatbuffers==25.12.19
venv/bin/python - <<'PY'
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers

anchors = np.array([[0.2, 0.2, 0.2, 0.2], [0.6, 0.6, 0.2, 0.2]], np.float32)
scores = np.array([[[0.0, 0.9, 0.6], [0.0, 0.1, 0.8]]], np.float32)  # background, two classes
options = dict(max_detections=2, max_classes_per_detection=2, num_classes=2, nms_score_threshold=0.3,
               nms_iou_threshold=0.5, y_scale=10.0, x_scale=10.0, h_scale=5.0, w_scale=5.0)

model = schema.ModelT()
model.version = 3
model.buffers = [schema.BufferT(), schema.BufferT()]
model.buffers[1].data = np.frombuffer(anchors.tobytes(), np.uint8)
code = schema.OperatorCodeT()
code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
code.customCode = 'TFLite_Detection_PostProcess'
model.operatorCodes = [code]
graph = schema.SubGraphT()
graph.tensors = []
shapes = [[1, 2, 4], [1, 2, 3], [2, 4], [1, 4, 4], [1, 4], [1, 4], [1]]
for index, shape in enumerate(shapes):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = f't{index}', shape, int(index == 2)
    graph.tensors.append(tensor)
graph.inputs, graph.outputs = [0, 1], [3, 4, 5, 6]
op = schema.OperatorT()
op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1, 2], [3, 4, 5, 6]
op.customOptions = np.frombuffer(bytes(flexbuffers.Dumps(options)), np.uint8)
graph.operators = [op]
model.subgraphs = [graph]
builder = flatbuffers.Builder(0)
builder.Finish(model.Pack(builder), b'TFL3')

interpreter = Interpreter(model_content=bytes(builder.Output()))
interpreter.allocate_tensors()
for detail, value in zip(interpreter.get_input_details(), (np.zeros((1, 2, 4), np.float32), scores)):
    interpreter.set_tensor(detail['index'], value)
interpreter.invoke()
_, classes, found, count = [interpreter.get_tensor(d['index'])[0] for d in interpreter.get_output_details()]
print('num_detections', count, 'classes', classes, 'scores', found)
# Seen: num_detections 2.0 classes [0. 1. 1. 0.] scores [0.9 0.6 0.8 0.1]
assert count == 2 and np.allclose(found, [0.9, 0.6, 0.8, 0.1]), 'behaviour changed'
PY
