"""How boxes are chosen, for tests of each way to choose them."""

import numpy as np

from mbv2_backbone.deploy.metadata import Detection

SIZE = (60, 100)  # height, width
RULES = Detection(
    classes=('a', 'b', 'c'),
    palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)),
    score_thr=0.1,
    iou_thr=0.45,
    nms_pre=-1,
    max_per_img=30,
    min_bbox_size=0,
    level_sizes=(48, 24),
)
VARIANTS = [
    {},
    dict(nms_pre=20),
    dict(max_per_img=4),
    dict(max_per_img=-1, score_thr=1e-8),
    dict(min_bbox_size=-1),
    dict(min_bbox_size=20),
    dict(score_thr=0.999),
]


def raw_outputs(rng, count, rules):
    """Return scores and boxes, of which many are partly and some wholly outside the image."""
    priors = sum(rules.level_sizes)
    centre = rng.uniform(-0.3, 1.3, (count, priors, 2)) * SIZE[::-1]
    half = rng.uniform(2, 25, (count, priors, 2))
    boxes = np.concatenate([centre - half, centre + half], -1)
    return rng.uniform(0, 0.9, (count, priors, 3)).astype(np.float32), boxes.astype(np.float32)
