"""Predictions drawn next to ground truth."""

import cv2
import numpy as np
import pytest

from mbv2_backbone.workbench.report.box_matches import Boxes, match_image
from mbv2_backbone.workbench.report.pictures import compare_boxes, compare_masks, encode
from mbv2_backbone.workbench.report.ranking import RankedImage


@pytest.fixture
def image_path(tmp_path):
    path = tmp_path / 'image_path.png'
    cv2.imwrite(str(path), np.full((30, 60, 3), 90, np.uint8))
    return str(path)


def test_right_and_wrong_boxes_have_different_colours(image_path):
    truth = Boxes(np.array([[5, 5, 25, 25]], np.float32), np.array([0]), np.ones(1))
    found = Boxes(
        np.array([[5, 5, 25, 25], [35, 12, 55, 28]], np.float32),
        np.array([0, 0]),
        np.array([0.9, 0.8]),
    )
    image = RankedImage(image_path, (30, 60), (0,), {}, match_image(found, truth))
    drawn = compare_boxes(image, ['disc'], has_truth=True)
    assert drawn.shape == (200, 806, 3)
    left, right = drawn[:, :400].reshape(-1, 3), drawn[:, 406:].reshape(-1, 3)
    blue, vermilion = (178, 114, 0), (0, 94, 213)
    for panel, has_wrong in ((left, False), (right, True)):
        assert (panel == blue).all(1).any()
        assert (panel == vermilion).all(1).any() == has_wrong
    assert len(encode(drawn, 10**6)) > len(encode(drawn, 1)) > 100
    gone = RankedImage(image_path + '.gone', (30, 60), (0,), {}, image.content)
    assert compare_boxes(gone, ['disc'], has_truth=True) is None
    neutral = compare_boxes(image, ['disc'], has_truth=False)
    assert not any((neutral == colour).all(-1).any() for colour in (blue, vermilion))
    assert (neutral == (167, 121, 204)).all(-1).any()


def test_masks_are_drawn_next_to_the_truth_or_the_plain_image(image_path):
    mask = cv2.imencode('.png', np.ones((30, 60), np.uint8))[1].tobytes()
    palette = [(0, 0, 0), (255, 0, 0)]
    both = compare_masks(RankedImage(image_path, (30, 60), (0,), {}, (mask, mask)), palette)
    assert (both[:, :400] == both[:, 406:]).all()
    assert (both[0, 0] != 90).any()
    bare = compare_masks(RankedImage(image_path, (30, 60), (0,), {}, (None, mask)), palette)
    assert (bare[:, :400] == 90).all()
    assert (bare[:, 406:] == both[:, 406:]).all()
