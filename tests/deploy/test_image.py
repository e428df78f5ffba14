"""TensorFlow 1's bilinear rule against a loop over the pixels."""

import numpy as np
import pytest
from helpers.resizing import slow_legacy_resize

from mbv2_backbone.deploy.image import Placement, legacy_resize, place
from mbv2_backbone.deploy.metadata import InputRules


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ((9, 12), (30, 40)),
        ((40, 31), (7, 10)),
        ((5, 40), (30, 8)),
        ((6, 6), (6, 6)),
        ((1, 1), (8, 5)),
        ((1, 9), (3, 20)),
        ((7, 1), (20, 3)),
        ((20, 30), (1, 1)),
    ],
)
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_the_legacy_rule_against_the_loop(rng, old, new, dtype):
    image = rng.integers(0, 256, (*old, 3)).astype(dtype)
    before = image.copy()
    found = legacy_resize(image, new)
    assert found.dtype == np.float32
    assert found.shape == (*new, 3)
    np.testing.assert_allclose(found, slow_legacy_resize(image, new), atol=1e-3)
    assert np.array_equal(image, before)


def test_the_legacy_rule_begins_at_the_first_pixel_and_repeats_the_last():
    row = np.array([0, 100], np.uint8)[None, :, None].repeat(3, 2)
    assert legacy_resize(row, (1, 4))[0, :, 0].tolist() == [0, 50, 100, 100]
    assert legacy_resize(row, (1, 1))[0, :, 0].tolist() == [0]


@pytest.mark.parametrize(('interpolation', 'dtype'), [('legacy', 'float32'), ('bilinear', 'uint8')])
def test_an_image_is_placed_by_the_rule_of_its_file(rng, interpolation, dtype):
    rules = InputRules(
        input_size=(20, 30), fit='stretch', within=None, pad_value=(0, 0, 0),
        interpolation=interpolation,
    )  # fmt: skip
    image = rng.integers(0, 256, (33, 17, 3), np.uint8)
    placed, where = place(image, rules)
    assert placed.dtype == rules.input_type == dtype
    assert where == Placement((33, 17), (20, 30))
    is_legacy = np.allclose(placed, slow_legacy_resize(image, (20, 30)), atol=1e-3)
    assert is_legacy == (interpolation == 'legacy')
    same, _ = place(image[:20, :15].repeat(2, 1), rules)  # of the input size already
    assert same.dtype == dtype
    assert np.array_equal(same, image[:20, :15].repeat(2, 1))
