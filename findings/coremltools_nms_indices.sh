#!/usr/bin/env bash
# Guess: torchvision's nms converted for Core ML returns box indices as whole numbers, exact like torch's.
# Truth (coremltools 9.0, targets below iOS 17, the default too): the indices are cast to float to be gathered, and the
#   default precision makes that half precision. Half holds whole numbers up to 2048: box 2049 comes out as 2048.
#   compute_precision=FLOAT32 or target iOS 17 has whole numbers throughout.
# Hurts: detectors with more than 2048 boxes before NMS (SSDLite 320 has 3234): every odd index above gives the
#   neighbouring prior, so the box or the label of another detection; small test images of few boxes pass.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 coremltools==9.0 numpy==2.2.6
venv/bin/python - <<'PY'
import logging

import coremltools
import numpy as np
import torch
from coremltools.converters.mil.mil import types

logging.disable(logging.WARNING)
library = torch.library.Library('torchvision', 'DEF')  # the op as torchvision declares it; its kernels are not needed
library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
library.impl('nms', lambda dets, scores, iou_threshold: torch.arange(len(dets)), 'CPU')


class Nms(torch.nn.Module):
    def forward(self, boxes, scores):
        return torch.ops.torchvision.nms(boxes, scores, 0.5)


inputs = {'boxes': (3234, 4), 'scores': (3234,)}
traced = torch.jit.trace(Nms().eval(), tuple(torch.rand(s) for s in inputs.values()), check_trace=False)


def index_types(**options):
    program = coremltools.convert(traced, convert_to='milinternal', inputs=[
        coremltools.TensorType(name=name, shape=shape) for name, shape in inputs.items()], **options)
    operations = program.functions['main'].operations
    gathers = [op for op in operations if op.op_type in ('gather', 'slice_by_size')]
    return [types.builtin_to_string(op.outputs[0].dtype) for op in gathers]


seen = {'default': index_types(), 'float32': index_types(compute_precision=coremltools.precision.FLOAT32),
        'iOS17': index_types(minimum_deployment_target=coremltools.target.iOS17)}
print('indices are gathered as', seen, '- 2049 in half precision is', int(np.float16(2049)))
# Seen: default fp16, float32 fp32, iOS17 int32; 2048
assert seen == {'default': ['fp16'], 'float32': ['fp32'], 'iOS17': ['int32']}, 'behaviour changed'
PY
