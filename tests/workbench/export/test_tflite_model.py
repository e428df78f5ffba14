"""TensorFlow Lite's operator for NMS, as our files hold it, against the same rules in numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.rules import RULES, SIZE

from mbv2_backbone.deploy.nms import select_boxes

pytestmark = pytest.mark.runtime
HEIGHT, WIDTH = SIZE
VARIANTS = [
    {},
    dict(nms_pre=20),
    dict(max_per_img=4),
    dict(max_per_img=-1, score_thr=0.0),
    dict(min_bbox_size=-1),
    dict(min_bbox_size=20),
    dict(score_thr=0.999),
]


def operator(rules):
    """Return a function of what the operator takes, that runs a model of the operator alone."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    from mbv2_backbone.workbench.export.tflite_model import add_nms, pack

    model, graph, signature = schema.ModelT(), schema.SubGraphT(), schema.SignatureDefT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    model.subgraphs, model.signatureDefs = [graph], [signature]
    graph.tensors, graph.operators, signature.inputs = [], [], []
    for i, (name, size) in enumerate((('centres', 4), ('candidates', len(rules.classes)))):
        tensor, entry = schema.TensorT(), schema.TensorMapT()
        tensor.name, tensor.shape, tensor.buffer = name, [1, sum(rules.level_sizes), size], 0
        tensor.type = schema.TensorType.FLOAT32
        entry.name, entry.tensorIndex = name, i
        graph.tensors.append(tensor)
        signature.inputs.append(entry)
    signature.outputs = list(signature.inputs)
    add_nms(model, rules)
    return Interpreter(model_content=pack(model)).get_signature_runner()


def some_boxes(rng):
    """Return scores `(72, 3)` and boxes `(72, 4)` in the image, some of them without area."""
    centre = rng.uniform(-0.1, 1.1, (72, 2)) * (WIDTH, HEIGHT)
    half = rng.uniform(2, 25, (72, 2))
    boxes = np.concatenate([centre - half, centre + half], 1).clip(0, (WIDTH, HEIGHT) * 2)
    boxes[::9, 2:] = boxes[::9, :2]
    return rng.uniform(0, 0.9, (72, 3)).astype(np.float32), boxes.astype(np.float32)


@pytest.mark.parametrize('change', VARIANTS, ids=str)
def test_the_operator_chooses_the_boxes_that_numpy_chooses(rng, change):
    from mbv2_backbone.workbench.export.to_litert import candidates, centres

    rules = replace(RULES, **change)
    run = operator(rules)
    for share in (1.0, 0.0):  # and an image without boxes
        scores, boxes = some_boxes(rng)
        scores = scores * np.float32(share)
        tensors = torch.from_numpy(scores)[None], torch.from_numpy(boxes)[None]
        found = run(
            centres=centres(tensors[1], SIZE).numpy(),
            candidates=candidates(*tensors, rules).numpy(),
        )
        expected = select_boxes(scores, boxes, rules, SIZE)
        num = len(expected[1])
        assert int(found['count'][0]) == num
        given = found['boxes'][0][:, [1, 0, 3, 2]] * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        np.testing.assert_allclose(given[:num], expected[0], atol=1e-4)
        np.testing.assert_allclose(found['scores'][0, :num], expected[1], atol=1e-6)
        assert np.array_equal(found['labels'][0, :num], expected[2])
        assert not found['scores'][0, num:].any()
