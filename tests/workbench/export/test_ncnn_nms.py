"""NMS as ncnn layers against the same rules in numpy."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.rules import RULES, SIZE, VARIANTS, raw_outputs

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.nms import select_boxes
from mbv2_backbone.workbench.export.ncnn_layers import Layer, NcnnModel, with_splits
from mbv2_backbone.workbench.export.ncnn_nms import check_rules, suppression_layers

pytestmark = pytest.mark.runtime


def net_of(rules, folder):
    """Return ncnn on the layers alone."""
    import ncnn

    added = suppression_layers(rules, SIZE)
    inputs = [Layer('Input', name, (), (name,)) for name in ('scores', 'boxes')]
    model = NcnnModel(tuple(with_splits([*inputs, *added.layers])), added.weights)
    (folder / 'nms.bin').write_bytes(model.weights)
    net = ncnn.Net()
    assert net.load_param_mem(model.to_text()) == 0
    assert net.load_model(str(folder / 'nms.bin')) == 0
    return net


def detections(net, scores, boxes):
    """Return the rows that ncnn gives for one image."""
    import ncnn

    extractor = net.create_extractor()
    extractor.input('scores', ncnn.Mat(scores))
    extractor.input('boxes', ncnn.Mat(boxes))
    status, rows = extractor.extract('detections')
    assert status == 0
    return np.zeros((0, 6)) if rows.empty() else np.array(rows)


def assert_chosen(rows, expected):
    boxes, scores, labels = expected
    assert len(rows) == len(scores)
    np.testing.assert_allclose(rows[:, 2:], boxes, atol=1e-4)
    np.testing.assert_allclose(rows[:, 1], scores, atol=1e-6)
    assert np.array_equal(rows[:, 0], labels + 1)


@pytest.mark.parametrize('clips_after', [False, True])
@pytest.mark.parametrize('change', VARIANTS, ids=str)
def test_the_layers_choose_the_boxes_that_numpy_chooses(rng, tmp_path, change, clips_after):
    rules = replace(RULES, **change, clip_after_nms=clips_after)
    net = net_of(rules, tmp_path)
    scores, boxes = raw_outputs(rng, 3, rules)
    scores[1] = 0  # an image without boxes
    if rules.min_bbox_size >= 0 and not clips_after:  # as decoded boxes are, which keep an area
        boxes = boxes.clip(0, np.tile(SIZE[::-1], 2)).astype(np.float32)
    for i in range(3):
        expected = select_boxes(scores[i], boxes[i], rules, SIZE)
        assert_chosen(detections(net, scores[i], boxes[i]), expected)


@pytest.mark.parametrize('num_outside', [0, 4, 40])
def test_boxes_outside_the_image_take_no_place_of_others(rng, tmp_path, num_outside):
    rules = replace(RULES, clip_after_nms=True, max_per_img=4, nms_pre=45)
    scores, boxes = raw_outputs(rng, 1, rules)
    boxes[0, :num_outside] = 120 + 60 * np.arange(num_outside)[:, None] + [0, 0, 20, 20]
    scores[0, :num_outside, 0] = 0.95
    expected = select_boxes(scores[0], boxes[0], rules, SIZE)
    assert len(expected[1]) == 4
    assert_chosen(detections(net_of(rules, tmp_path), scores[0], boxes[0]), expected)


@pytest.mark.parametrize('change', [{}, dict(nms_pre=50), dict(clip_after_nms=True)], ids=str)
def test_boxes_that_nms_drops_take_no_place_of_others(rng, tmp_path, change):
    rules = replace(RULES, max_per_img=5, **change)
    scores, boxes = raw_outputs(rng, 1, rules)
    boxes[0, :40] = boxes[0, 0] + rng.uniform(0, 0.1, (40, 4))
    scores[0] *= [0.9, 0, 0]
    scores[0, :40, 0] += 0.2
    expected = select_boxes(scores[0], boxes[0], rules, SIZE)
    assert len(expected[1]) == 5
    assert_chosen(detections(net_of(rules, tmp_path), scores[0], boxes[0]), expected)


def test_boxes_without_area_cannot_be_kept():
    check_rules(RULES)
    check_rules(replace(RULES, min_bbox_size=-1, clip_after_nms=True))
    with pytest.raises(UserError, match=r'min_bbox_size=0, or --raw'):
        check_rules(replace(RULES, min_bbox_size=-1))
