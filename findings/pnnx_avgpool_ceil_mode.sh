#!/usr/bin/env bash
# Guess: AvgPool2d(2, ceil_mode=True) is the same in the ncnn model that pnnx writes: a window that hangs over the
#   border of an odd map is the mean of the pixels in it.
# Truth (pnnx 20261020, ncnn 1.0.20261020): the window's sum is divided by its whole area, as if zeros stood outside:
#   the last row and column are half as large, the corner a quarter. So with any ceil_mode=True whose
#   count_include_pad is left at its default; with count_include_pad=False the values are torch's.
# Hurts: networks that halve an odd map with it (7, 75 or 19 pixels): no error, and a check on an even size passes;
#   only what lies at the right and lower edge is weaker.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q torch==2.15.0 pnnx==20261020 ncnn==1.0.20261020 numpy==2.2.6
venv/bin/python - <<'PY'
import ncnn
import numpy as np
import pnnx
import torch


def pooled(size, **options):
    """The last row of a pooled image of ones, by torch and by ncnn."""
    pool, image = torch.nn.AvgPool2d(2, ceil_mode=True, **options).eval(), torch.ones(1, 1, size, size)
    pnnx.export(pool, 'pool.pt', (image,))
    net = ncnn.Net()
    net.load_param('pool.ncnn.param')
    net.load_model('pool.ncnn.bin')
    extractor = net.create_extractor()
    extractor.input('in0', ncnn.Mat(image[0].numpy()).clone())
    _, out = extractor.extract('out0')
    return pool(image)[0, 0, -1].tolist(), np.array(out)[0, -1].tolist()


seen = {'odd': pooled(7), 'even': pooled(8), 'odd, count_include_pad=False': pooled(7, count_include_pad=False)}
print('last row of torch and ncnn', seen)
# Seen: odd: ones and [0.5, 0.5, 0.5, 0.25]; the other two: ones and ones
ones = [1.0] * 4
assert seen == {'odd': (ones, [0.5, 0.5, 0.5, 0.25]), 'even': (ones, ones),
                'odd, count_include_pad=False': (ones, ones)}, 'behaviour changed'
PY
