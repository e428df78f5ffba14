#!/usr/bin/env bash
# Guess: convert_float_to_float16 clamps constants at what half precision holds, 65504, and lets tiny ones
#   become zero; the copy inside onnxruntime is the same function.
# Truth (onnxconverter-common 1.16.0): it clamps at 10000 (a Python warning says so) and lifts what is
#   below 1e-7 to 1e-7. The copy
#   in onnxruntime 1.32.0 of the same name and the same call keeps 30000.
# Hurts: detectors that put classes apart with a large offset before NMS or hold pixel sizes as constants:
#   boxes of big offsets fall together; dead channels of ~1e-20 come back to life at 1e-7.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0 onnxconverter-common==1.16.0 numpy==2.4.6
venv/bin/python - <<'PY'
import copy

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common import float16 as common
from onnxruntime.transformers import float16 as runtime

constant = np.array([30000.0, -40000.0, 1e-20], np.float32)
graph = helper.make_graph(
    [helper.make_node('Mul', ['x', 'c'], ['y'])], 'g',
    [helper.make_tensor_value_info('x', TensorProto.FLOAT, [3])],
    [helper.make_tensor_value_info('y', TensorProto.FLOAT, [3])], [numpy_helper.from_array(constant, 'c')])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
values = {}
for name, module in (('onnxconverter-common', common), ('onnxruntime', runtime)):
    half = module.convert_float_to_float16(copy.deepcopy(model))
    values[name] = numpy_helper.to_array(half.graph.initializer[0])
    print(name, values[name])
# Seen: onnxconverter-common [1.e+04 -1.e+04 1.e-07], onnxruntime [3.e+04 -4.e+04 6.e-08]
assert np.allclose(values['onnxconverter-common'][:2].astype(float), [10000, -10000]), 'behaviour changed'
assert np.allclose(values['onnxruntime'][:2].astype(float), [30000, -40000]), 'behaviour changed'
assert float(values['onnxconverter-common'][2]) > 9e-8, 'behaviour changed'
PY
