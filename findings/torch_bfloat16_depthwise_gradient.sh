#!/usr/bin/env bash
# Guess: on a CPU that multiplies bfloat16 (avx512_bf16) a layer's backward pass in bfloat16 takes about as long as in
#   float32 or less, as its forward pass does.
# Truth (torch 2.15.0, oneDNN 3.13.3): for a depthwise convolution of stride 2 the gradient of the input is left to
#   oneDNN's strided convolution for any groups (brgconv_strided), not to its depthwise one (jit_dw), which float32 and
#   stride 1 get. It takes 40 to 90 times as long as float32.
# Hurts: MobileNets trained in bfloat16 on such a CPU: the few layers of stride 2 take most of the backward pass, and
#   the whole can be slower than float32.
set -euo pipefail
if ! grep -qm1 avx512_bf16 /proc/cpuinfo; then
    echo 'skipped: this CPU has no avx512_bf16, so nothing was checked'
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q torch==2.15.0 numpy==2.2.6
OMP_NUM_THREADS=1 ONEDNN_VERBOSE=1 venv/bin/python - >log <<'PY'
import torch

for dtype in (torch.float32, torch.bfloat16):
    for stride in (1, 2):
        layer = torch.nn.Conv2d(96, 96, 3, stride, 1, groups=96, bias=False, dtype=dtype)
        for _ in range(20):
            image = torch.randn(4, 96, 40, 40, dtype=dtype, requires_grad=True)
            layer(image).sum().backward()
PY
venv/bin/python - <<'PY'
# a line: onednn_verbose,v1,primitive,exec,cpu,convolution,IMPLEMENTATION,backward_data,MEMORY,ATTRIBUTES,…,SHAPE,MS
rows = [line.split(',') for line in open('log') if ',convolution,' in line and ',backward_data,' in line]
seen = {}
for row in rows:
    key = 'bfloat16' if 'bf16' in row[8] else 'float32', 2 if 'sh2' in row[-2] else 1
    name, best = row[6].split(':')[0], seen.get(key, ('', 1e9))[1]
    seen[key] = name, min(best, float(row[-1]))
ratio = seen['bfloat16', 2][1] / seen['float32', 2][1]
print('gradient of the input, milliseconds:', seen, f'stride 2: {ratio:.0f} times as long')
# Seen: jit_dw 0.16 and 0.06 in float32, jit_dw 0.09 and brgconv_strided 5.21 in bfloat16; 80 times as long
assert {key: name for key, (name, _) in seen.items()} == {
    ('float32', 1): 'jit_dw', ('float32', 2): 'jit_dw', ('bfloat16', 1): 'jit_dw',
    ('bfloat16', 2): 'brgconv_strided'}, 'behaviour changed'
assert ratio > 10, 'behaviour changed'
PY
