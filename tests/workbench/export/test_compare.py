"""What a comparison of an exported file with its model counts, and what exceeds a tolerance."""

import numpy as np
import pytest

from mbv2_backbone.deploy.predictor import Prediction
from mbv2_backbone.workbench.export.compare import (
    Comparison,
    compare_predictions,
    raw_difference,
)

pytestmark = pytest.mark.runtime


def test_a_comparison_names_what_exceeds_its_tolerance():
    good = Comparison(num_boxes=1000, num_matched=996, num_extra=4, raw=dict(scores=9e-5))
    assert good.problems() == []
    bad = Comparison(
        raw=dict(scores=2e-4, boxes=float('inf')), num_boxes=10, num_matched=9,
        score_difference=0.1, num_pixels=10, num_equal_pixels=9,
    )  # fmt: skip
    assert len(bad.problems()) == 5
    ours = dict(scores=np.array([[0.5, np.nan]]))
    assert raw_difference(ours, dict(scores=np.zeros((1, 2))), 10)['scores'] == np.inf
    assert raw_difference(dict(a=np.ones(3)), dict(a=np.ones(2)), 1)['a'] == np.inf
    boxes = raw_difference(dict(boxes=np.ones(4)), dict(boxes=np.zeros(4)), 10)
    assert boxes['boxes'] == pytest.approx(0.1)


def test_the_pixels_of_all_images_count():
    def masks(value):
        none = dict(boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int), names=())
        return [Prediction(**none, mask=np.full((4, 4), value), size_hw=(4, 4))]

    result = Comparison()
    assert result.equal_pixels is None
    compare_predictions(result, masks(0), masks(1))
    compare_predictions(result, masks(1), masks(1))
    assert result.equal_pixels == 0.5
