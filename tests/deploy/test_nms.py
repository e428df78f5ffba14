"""The choice of boxes in numpy against a loop over the classes with torchvision's NMS."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.rules import RULES, SIZE
from torchvision.ops import nms

from mbv2_backbone.deploy.nms import select_boxes


def class_by_class(scores, boxes, rules):
    """Return rows of score, label and box, and how many boxes lost their area."""
    found, num_lost = [], 0
    for label in range(len(rules.classes)):
        own = [p for p in range(len(boxes)) if scores[p, label] > rules.score_thr]
        sides = {p: (boxes[p][2:] - boxes[p][:2]).min() for p in own}
        own = [p for p in own if rules.min_bbox_size < 0 or sides[p] > rules.min_bbox_size]
        kept = nms(torch.from_numpy(boxes[own]), torch.from_numpy(scores[own, label]), 0.45)
        for p in (own[i] for i in kept.tolist()):
            left, top, right, bottom = boxes[p].tolist()
            if rules.clip_after_nms:
                left, right = (min(max(x, 0), SIZE[1]) for x in (left, right))
                top, bottom = (min(max(y, 0), SIZE[0]) for y in (top, bottom))
                if left >= right or top >= bottom:
                    num_lost += 1
                    continue
            found.append((scores[p, label], label, (left, top, right, bottom)))
    found.sort(reverse=True)
    return found[: rules.max_per_img] if rules.max_per_img > 0 else found, num_lost


@pytest.mark.parametrize('clips_after', [False, True])
@pytest.mark.parametrize(
    'change',
    [{}, dict(max_per_img=4), dict(max_per_img=-1, score_thr=1e-8), dict(min_bbox_size=20),
     dict(min_bbox_size=-1), dict(score_thr=0.999)],
    ids=str,
)  # fmt: skip
def test_boxes_are_chosen_as_a_loop_over_the_classes_does(rng, change, clips_after):
    rules = replace(RULES, **change, clip_after_nms=clips_after)
    for _ in range(3):
        centre = rng.uniform(-0.3, 1.3, (72, 2)) * SIZE[::-1]  # some wholly outside the image
        half = rng.uniform(2, 25, (72, 2))
        boxes = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
        scores = rng.uniform(0, 0.9, (72, 3)).astype(np.float32)
        given = boxes.copy()
        found = select_boxes(scores, boxes, rules, SIZE)
        expected, num_lost = class_by_class(scores, boxes, rules)
        assert (num_lost > 2) == (clips_after and rules.score_thr < 0.9)
        assert found[1].tolist() == [row[0] for row in expected]
        assert found[2].tolist() == [row[1] for row in expected]
        assert found[0].tolist() == [list(row[2]) for row in expected]
        assert [part.dtype for part in found] == [np.float32, np.float32, np.int64]
        assert np.array_equal(boxes, given)
