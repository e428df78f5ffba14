"""NMS as ONNX nodes against the same rules in numpy."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers.rules import RULES, SIZE, VARIANTS, raw_outputs
from onnx import helper

from mbv2_backbone.deploy.nms import select_boxes
from mbv2_backbone.workbench.export.onnx_nms import num_final_boxes, suppression_nodes
from mbv2_backbone.workbench.export.to_onnx import OPSET

pytestmark = pytest.mark.runtime


def session(rules):
    """Return onnxruntime on a graph of the nodes alone."""
    import onnxruntime

    text = f'nms (float x) => (float x) {{\n{suppression_nodes(rules, SIZE)}\n}}'
    nodes = onnx.parser.parse_graph(text).node
    kinds = onnx.TensorProto
    priors, limit = sum(rules.level_sizes), num_final_boxes(rules)
    inputs = [
        helper.make_tensor_value_info('raw_scores', kinds.FLOAT, ['n', priors, 3]),
        helper.make_tensor_value_info('raw_boxes', kinds.FLOAT, ['n', priors, 4]),
    ]
    outputs = [
        helper.make_tensor_value_info('boxes', kinds.FLOAT, ['n', limit, 4]),
        helper.make_tensor_value_info('scores', kinds.FLOAT, ['n', limit]),
        helper.make_tensor_value_info('labels', kinds.INT64, ['n', limit]),
    ]
    graph = helper.make_graph(nodes, 'nms', inputs, outputs)
    opset = helper.make_opsetid('', OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize('clips_after', [False, True])
@pytest.mark.parametrize('change', VARIANTS, ids=str)
def test_the_nodes_choose_the_boxes_that_numpy_chooses(rng, change, clips_after):
    rules = replace(RULES, **change, clip_after_nms=clips_after)
    run = session(rules).run
    for count in (1, 4):
        scores, boxes = raw_outputs(rng, count, rules)
        if count == 4:
            scores[2] = 0  # an image without boxes
        found = run(['boxes', 'scores', 'labels'], dict(raw_scores=scores, raw_boxes=boxes))
        for i in range(count):
            expected = select_boxes(scores[i], boxes[i], rules, SIZE)
            num = len(expected[1])
            assert (found[2][i] >= 0).sum() == num
            np.testing.assert_allclose(found[0][i, :num], expected[0], atol=1e-4)
            np.testing.assert_allclose(found[1][i, :num], expected[1], atol=1e-6)
            assert np.array_equal(found[2][i, :num], expected[2])
            assert not found[0][i, num:].any()
            assert not found[1][i, num:].any()
            assert (found[2][i, num:] == -1).all()


@pytest.mark.parametrize('num_outside', [0, 3, 4, 40])
def test_boxes_outside_the_image_take_no_place_of_others(rng, num_outside):
    """However many of the best boxes of a class lose their area."""
    rules = replace(RULES, clip_after_nms=True, max_per_img=4)
    corner = 120 + 60 * np.arange(num_outside)[:, None]
    outside = np.concatenate([corner, corner, corner + 20, corner + 20], 1)
    _, boxes = raw_outputs(rng, 1, rules)
    boxes[0, :num_outside] = outside
    scores = rng.uniform(0.1, 0.5, (1, 72, 3)).astype(np.float32)
    scores[0, :num_outside, 0] = 0.9
    scores[0, num_outside:, 0] += 0.2
    found = session(rules).run(None, dict(raw_scores=scores, raw_boxes=boxes))
    expected = select_boxes(scores[0], boxes[0], rules, SIZE)
    assert len(expected[1]) == 4
    np.testing.assert_allclose(found[0][0], expected[0], atol=1e-4)
    np.testing.assert_allclose(found[1][0], expected[1], atol=1e-6)
    assert np.array_equal(found[2][0], expected[2])
