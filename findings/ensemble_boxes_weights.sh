#!/usr/bin/env bash
# Guess: ensemble_boxes.nms and soft_nms with weights compute with weighted scores and leave the caller's lists alone,
#   as weighted_boxes_fusion and non_maximum_weighted of the same package do.
# Truth (ensemble-boxes 1.0.9): they write the weighted scores into the caller's list. A second call weighs again.
# Hurts: comparing ways to fuse two detectors, or searching for weights, in one loop: all after the first call is
#   computed from scores that shrink each time.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q ensemble-boxes==1.0.9 numba==0.68.1 numpy==2.4.6
venv/bin/python - <<'PY'
import ensemble_boxes

boxes, labels = [[[0.1, 0.1, 0.5, 0.5]], [[0.6, 0.6, 0.9, 0.9]]], [[0], [0]]
seen = {}
for name in ('weighted_boxes_fusion', 'non_maximum_weighted', 'nms', 'soft_nms'):
    scores = [[0.9], [0.8]]
    for _ in range(2):
        getattr(ensemble_boxes, name)(boxes, scores, labels, weights=[2, 1])
    seen[name] = [round(float(s[0]), 3) for s in scores]
print('caller\'s scores after two calls', seen)
# Seen: fusion and non_maximum_weighted [0.9, 0.8]; nms and soft_nms [0.4, 0.089]
assert seen['weighted_boxes_fusion'] == seen['non_maximum_weighted'] == [0.9, 0.8], 'behaviour changed'
assert seen['nms'] == seen['soft_nms'] == [0.4, 0.089], 'behaviour changed'
PY
