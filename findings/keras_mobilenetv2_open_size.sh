#!/usr/bin/env bash
# Guess: one set of weights gives one result: keras.applications.MobileNetV2 built for (None, None, 3) and
#   for (225, 225, 3) agree on an image of 225 x 225.
# Truth (keras 3.15.1): the padding before a stride of 2 is chosen from the static size when the model is
#   built; an unknown size counts as even. A side that is odd at some stride (225, 257, 321, 513) is then
#   padded on one side only: 7 x 7 features, not 8 x 8, sampled at other pixels.
# Hurts: DeepLab-like crops (513, 321) and anyone who trains at a fixed size and serves with an open one, or
#   exports both: no error, another grid.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q keras==3.15.1 openvino==2026.4.1 scipy==1.17.1 numpy==2.4.6
venv/bin/python - <<'PY'
import os

os.environ['KERAS_BACKEND'] = 'openvino'  # small; the layers and the padding are the same on all backends
import keras
import numpy as np


def build(size):
    return keras.applications.MobileNetV2((size, size, 3), alpha=0.35, include_top=False, weights=None)


fixed, free = build(225), build(None)
free.set_weights(fixed.get_weights())
image = np.random.default_rng(0).uniform(-1, 1, (1, 225, 225, 3)).astype('float32')
shapes = [model.predict(image, verbose=0).shape for model in (fixed, free)]
print('keras', keras.__version__, 'fixed', shapes[0], 'open', shapes[1])
# Seen: fixed (1, 8, 8, 1280) open (1, 7, 7, 1280)
assert shapes == [(1, 8, 8, 1280), (1, 7, 7, 1280)], 'behaviour changed'
even = [m.predict(np.zeros((1, 224, 224, 3), 'float32'), verbose=0).shape for m in (build(224), free)]
assert even[0] == even[1] == (1, 7, 7, 1280), even
PY
