#!/usr/bin/env bash
# Guess: an int8 model made by a post-training quantiser keeps the output of a depthwise channel whose weights died
#   (1e-9, as trained MobileNets have them) and whose bias alone is left: ReLU6 gives the bias, 2.0.
# Truth: ai-edge-quantizer 0.10.0 (static_wi8_ai8) gives 0.0: the bias divided by the tiny scale of its channel does
#   not fit in int32. So does onnxruntime 1.32.0 per channel with unsigned weights; with int8 weights it widens the
#   scale and gives 2.0.
# Hurts: MobileNetV2 quantised per channel: a constant that later layers count on is gone; accuracy falls, and the
#   errors of all other channels are as small as they should be.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 flatbuffers==25.12.19 \
  onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PY'
import flatbuffers
import numpy as np
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

weights, bias = np.array([1e-9, 1, 1, 1], np.float32), np.array([2, 0, 0, 0], np.float32)
image = np.linspace(0, 10, 64, dtype=np.float32).reshape(1, 4, 4, 4)  # (N, C, H, W)


def litert():
    model, code, graph, op = schema.ModelT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.buffers = 3, [schema.BufferT() for _ in range(3)]
    model.buffers[1].data, model.buffers[2].data = (np.frombuffer(a.tobytes(), np.uint8) for a in (weights, bias))
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    graph.tensors = []
    for name, shape, buffer in (('x', [1, 4, 4, 4], 0), ('w', [1, 1, 1, 4], 1), ('b', [4], 2), ('y', [1, 4, 4, 4], 0)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, shape, buffer
        graph.tensors.append(tensor)
    graph.inputs, graph.outputs, op.inputs, op.outputs = [0], [3], [0, 1, 2], [3]
    op.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
    op.builtinOptions = schema.DepthwiseConv2DOptionsT()
    for name in ('strideW', 'strideH', 'depthMultiplier', 'dilationWFactor', 'dilationHFactor'):
        setattr(op.builtinOptions, name, 1)
    op.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    signature, maps = schema.SignatureDefT(), [schema.TensorMapT(), schema.TensorMapT()]
    maps[0].name, maps[0].tensorIndex, maps[1].name, maps[1].tensorIndex = 'x', 0, 'y', 3
    signature.signatureKey, signature.inputs, signature.outputs = 'serving_default', maps[:1], maps[1:]
    graph.operators, model.operatorCodes, model.subgraphs, model.signatureDefs = [op], [code], [graph], [signature]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b'TFL3')
    x = image.transpose(0, 2, 3, 1).copy()
    maker = quantizer.Quantizer(bytearray(builder.Output()), recipe.static_wi8_ai8())
    made = maker.quantize(maker.calibrate({'serving_default': [{'x': x}]})).quantized_model
    run = Interpreter(model_content=bytes(made))
    run.allocate_tensors()
    first, last = run.get_input_details()[0], run.get_output_details()[0]
    scale, zero = first['quantization']
    run.set_tensor(first['index'], np.clip(np.round(x / scale + zero), -128, 127).astype(np.int8))
    run.invoke()
    scale, zero = last['quantization']
    return scale * (run.get_tensor(last['index'])[0, 0, 0].astype(float) - zero)


class Images(CalibrationDataReader):
    def __init__(self):
        self.rest = iter([{'x': image}])

    def get_next(self):
        return next(self.rest, None)


def onnx_quantised(kind):
    values = {'w': weights.reshape(4, 1, 1, 1), 'b': bias, 'low': np.float32(0), 'high': np.float32(6)}
    graph = helper.make_graph(
        [helper.make_node('Conv', ['x', 'w', 'b'], ['c'], group=4),
         helper.make_node('Clip', ['c', 'low', 'high'], ['y'])],
        'g', *([helper.make_tensor_value_info(n, TensorProto.FLOAT, image.shape)] for n in 'xy'),
        [numpy_helper.from_array(value, name) for name, value in values.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8), 'f.onnx')
    quantize_static('f.onnx', 'q.onnx', Images(), per_channel=True, activation_type=kind, weight_type=kind)
    session = onnxruntime.InferenceSession('q.onnx', providers=['CPUExecutionProvider'])
    return session.run(None, {'x': image})[0][0, :, 0, 0]


seen = {'onnxruntime int8': onnx_quantised(QuantType.QInt8), 'onnxruntime uint8': onnx_quantised(QuantType.QUInt8),
        'ai-edge-quantizer': litert()}
print({name: np.round(value, 2).tolist() for name, value in seen.items()})
# Seen: first channel 2.0, 0.0, 0.0; the other channels agree: 2.54, 5.1, 6.0
assert [round(float(value[0]), 1) for value in seen.values()] == [2.0, 0.0, 0.0], 'behaviour changed'
PY
