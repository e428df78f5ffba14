"""Generated scenes: which shape a pixel belongs to, and how much scenes vary."""

import numpy as np
import pytest

from mbv2_backbone.workbench.data.sample import scenes
from mbv2_backbone.workbench.data.sample.sample_files import Instance
from mbv2_backbone.workbench.data.sample.scenes import CLASSES, draw_scene


def test_masks_follow_the_painting_order(monkeypatch):
    """Each pixel belongs to the shape that was painted on it last."""
    painted = []
    paint = scenes._paint

    def record(rng, canvas, shape):
        painted.append(shape)
        paint(rng, canvas, shape)

    monkeypatch.setattr(scenes, '_paint', record)
    for seed in range(25):
        painted.clear()
        _, instances = draw_scene(np.random.default_rng(seed), 96)
        top = np.full((96, 96), -1)
        for index, shape in enumerate(painted):
            rows, columns = shape.region
            for y, x in np.argwhere(shape.coverage >= 0.5):
                top[rows.start + y, columns.start + x] = index
        objects = [(i, shape) for i, shape in enumerate(painted) if shape.kind in CLASSES]
        for (index, shape), instance in zip(objects, instances, strict=True):
            assert CLASSES[instance.label] == shape.kind
            np.testing.assert_array_equal(instance.mask, top == index)
            x, y = shape.outline.T
            area = abs((x * np.roll(y, 1) - y * np.roll(x, 1)).sum()) / 2
            assert instance.mask.sum() >= 0.4 * area - 1
            assert instance.occluded == ((top == index).sum() < (shape.coverage >= 0.5).sum())
            off_canvas = shape.outline.min() < 0 or shape.outline.max() > 96
            assert instance.truncated == off_canvas
            if not off_canvas:
                assert (shape.coverage >= 0.5).sum() == pytest.approx(area, rel=0.1, abs=6)


def test_scenes_vary():
    scenes = [draw_scene(np.random.default_rng([9, k]), 96) for k in range(150)]
    counts = np.bincount([len(instances) for _, instances in scenes], minlength=7)
    assert 1 <= counts[0] <= 12
    assert (counts[1:] > 0).all()
    assert len(counts) == 7
    everything = [i for _, instances in scenes for i in instances]
    labels = np.bincount([i.label for i in everything])
    assert labels.min() > 0.7 * labels.mean()
    assert len(labels) == len(CLASSES)
    sides = np.array([max(i.box_xywh[2:]) for i in everything]) * 2  # at 192 px
    assert (sides < 32).mean() > 0.1
    assert (sides > 64).mean() > 0.1
    assert ((sides >= 32) & (sides <= 64)).mean() > 0.4
    assert 0.15 < np.mean([i.occluded for i in everything]) < 0.6
    assert 0.05 < np.mean([i.truncated for i in everything]) < 0.4
    overlapping = [
        any(boxes_overlap(a, b) for a in instances for b in instances if a is not b)
        for _, instances in scenes
    ]
    assert np.mean(overlapping) > 0.3
    brightness = [image.mean() for image, _ in scenes]
    assert np.std(brightness) > 20


def boxes_overlap(a: Instance, b: Instance):
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box_xywh, b.box_xywh
    return ax < bx + bw and bx < ax + aw and ay < by + bh and by < ay + ah
