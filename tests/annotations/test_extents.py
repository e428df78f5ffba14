"""Boxes around outlines are those of pycocotools; what cannot be an outline is told.

pycocotools 2.0.11 decodes run lengths of another size without a word; its `rleToBbox` then gives
boxes of another image.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from mbv2_backbone.annotations.extents import (
    box_of_outline,
    outline_extent,
    outline_problem,
    polygon_parts,
    run_lengths,
    runs_to_mask,
)
from mbv2_backbone.common.messages import UserError

WH = (40, 30)
SQUARE = [[4, 5, 14, 5, 14, 25, 4, 25]]  # from (4, 5) to (14, 25)


def compressed(mask):
    runs = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=list(runs['size']), counts=runs['counts'].decode())


def plain(mask):
    flat = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return dict(size=list(mask.shape), counts=[0, *counts] if flat[0] else counts)


@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.03, 0.5, 1.0]))
def test_run_lengths_are_those_of_pycocotools(seed, share):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 30, 2).tolist()
    mask = rng.random((height, width)) < share
    oracle = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    x, y, w, h = mask_utils.toBbox(oracle).tolist()
    for stored in (plain(mask), compressed(mask)):
        counts = run_lengths(stored, (width, height))
        np.testing.assert_array_equal(runs_to_mask(counts, (width, height)), mask)
        expected = (x, y, x + w, y + h) if mask.any() else None
        assert outline_extent(stored, (width, height)) == expected


def square_mask(wh=WH):
    mask = np.zeros(wh[::-1], bool)
    mask[5:25, 4:14] = True
    return mask


@pytest.mark.parametrize(
    ('stored', 'message'),
    [
        (
            plain(square_mask((30, 40))),
            r'height and width \[40, 30\], but its image has \[30, 40\]',
        ),
        (plain(square_mask((80, 60))), r'height and width \[60, 80\]'),
        (plain(square_mask()) | dict(counts=[125, 20, 10, 20]), 'of 175 pixels.*image has 1200'),
        (plain(square_mask()) | dict(counts=[125, -20, 1095]), 'cannot be read'),
        (plain(square_mask()) | dict(counts=['1200']), 'cannot be read'),
        (
            plain(square_mask()) | dict(counts=compressed(square_mask())['counts'][:-3]),
            'pixels|read',
        ),
        (plain(square_mask()) | dict(counts='\u00e4\u00f6'), 'cannot be read'),
        (dict(counts=[1200]), 'height and width None'),
        ([[125, 20, 10, 20, 10, 20, 995]], '7 numbers, which are not pairs'),
    ],
)
def test_what_is_not_an_outline_of_this_image(stored, message):
    with pytest.raises(UserError, match=message):
        outline_extent(stored, WH)
    assert outline_problem(stored, (4, 5, 14, 25), WH).startswith('has ')


@pytest.mark.parametrize(
    'stored',
    [
        SQUARE,
        SQUARE[0],  # without the list of parts
        [[4, 5], [14, 5], [14, 25]],  # points as pairs
        [[[4, 5], [14, 25], [4, 25]]],
        [[4, 5, 14, 5, 14, 9], [4, 20, 14, 20, 14, 25]],
        plain(square_mask()),
        compressed(square_mask()),
    ],
)
def test_the_box_around_an_outline(stored):
    assert box_of_outline(stored, WH) == (4, 5, 14, 25)
    assert outline_problem(stored, (4, 5, 14, 25), WH) == ''


INF = float('inf')


@pytest.mark.parametrize(
    'stored',
    [
        None,
        [],
        'x',
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, float('nan')]],
        [[1, 2, INF, 4, -INF, 6]],
        [[10**400, 2, 3, 4, 5, 6]],
        [['1', 2, 3, 4, 5, 6]],
    ],
)
def test_no_outline(stored):
    assert box_of_outline(stored, WH) is None
    assert outline_problem(stored, (4, 5, 14, 25), WH) == ''


@pytest.mark.parametrize(
    'stored',
    [
        [plain(square_mask())['counts'][:-1]],  # run lengths as a polygon
        [[value / 40 for value in SQUARE[0]]],  # relative to the image
        [[value * 2 for value in SQUARE[0]]],  # of an image twice as large
        [SQUARE[0][::-1]],  # y, x
    ],
)
def test_an_outline_that_contradicts_its_box(stored):
    box = (24, 2, 34, 22) if stored == [SQUARE[0][::-1]] else (4, 5, 14, 25)
    assert 'but its box is from' in outline_problem(stored, box, WH)


def test_boxes_may_be_looser_than_outlines():
    assert outline_problem(SQUARE, (3, 3, 16, 27), WH) == ''  # two pixels on each side
    assert outline_problem(SQUARE, (4, 5, 23, 25), WH) == ''  # an IoU of 10 / 19
    assert outline_problem(SQUARE, (4, 5, 25, 25), WH)  # of 10 / 21


def test_an_outline_outside_its_image_gives_no_box():
    with pytest.raises(
        UserError, match=r'from \(100, 5\) to \(140, 25\) in an image of \[40, 30\]'
    ):
        box_of_outline([[100, 5, 140, 5, 140, 25]], WH)
    assert box_of_outline([[30, 5, 45, 5, 45, 25]], WH) == (30, 5, 45, 25)


def test_parts_of_less_than_three_points_are_left_out():
    assert polygon_parts([[1, 2, 3, 4], *SQUARE]) == SQUARE
