#!/usr/bin/env bash
# Guess: the usual end of a detector, topk over all scores at once and then index divided by the number of classes,
#   converts to Core ML with whole numbers throughout, as torch computes it.
# Truth (coremltools 9.0, default precision): for targets from iOS 17 topk gives its indices as uint16, however many
#   scores there are; only gather's are checked against the size. For every target torch.div(index, 80,
#   rounding_mode='floor') is computed in half precision, of the index too; `index // 80` is computed in int32.
#   compute_precision=FLOAT32 has int32 topk and a float32 division.
# Hurts: a detector of 3234 priors and 80 classes: 258,720 scores. uint16 ends at 65,535 (prior 819), half precision
#   at 65,504 and is exact up to 2048 (prior 25). Detections of later priors get box and class of another one; a test
#   with a small model passes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 coremltools==9.0 numpy==2.2.6
venv/bin/python - <<'PY'
import logging
import warnings

import coremltools
import numpy as np
import torch
from coremltools.converters.mil.mil import types

logging.disable(logging.WARNING)
warnings.simplefilter('ignore')
PRIORS, CLASSES = 3234, 80


class Div(torch.nn.Module):
    def forward(self, scores):
        return torch.div(torch.topk(scores.flatten(), 3)[1], CLASSES, rounding_mode='floor')


class Slashes(torch.nn.Module):
    def forward(self, scores):
        return torch.topk(scores.flatten(), 3)[1] // CLASSES


def numbers(module, target, **options):
    """The types of topk's indices and of the division in the converted program; nothing of it is run."""
    traced = torch.jit.trace(module, torch.rand(PRIORS, CLASSES))
    program = coremltools.convert(
        traced, convert_to='milinternal', minimum_deployment_target=getattr(coremltools.target, target),
        inputs=[coremltools.TensorType(name='scores', shape=(PRIORS, CLASSES))], **options)
    types_of = {op.op_type: types.builtin_to_string(op.outputs[-1].dtype)
                for op in program.functions['main'].operations if op.op_type in ('topk', 'floor_div')}
    return types_of['topk'], types_of['floor_div']


float32 = {'compute_precision': coremltools.precision.FLOAT32}
seen = [numbers(module(), target, **options) for target, module, options in (
    ('iOS15', Div, {}), ('iOS15', Slashes, {}), ('iOS18', Div, {}), ('iOS18', Slashes, {}), ('iOS18', Div, float32))]
last = PRIORS * CLASSES - 1
with np.errstate(over='ignore'):
    print('topk and division:', seen, '- index', last, 'as uint16', int(np.array(last).astype(np.uint16)), 'as fp16',
          float(np.float16(last)), '- 20079 // 80 is', 20079 // 80, 'and in fp16', int(np.float16(20079) // np.float16(80)))
# Seen: iOS15 int32 and fp16, // int32; iOS18 uint16 and fp16, // int32; FLOAT32 int32 and fp32; 62111, inf; 250, 251
assert seen == [('int32', 'fp16'), ('int32', 'int32'), ('uint16', 'fp16'), ('uint16', 'int32'),
                ('int32', 'fp32')], 'behaviour changed'
PY
