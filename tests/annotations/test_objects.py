"""Which objects can be trained on, and COCO's annotations with and without boxes."""

import pytest

from mbv2_backbone.annotations.boxes import Object
from mbv2_backbone.annotations.objects import (
    coco_object,
    ignored_problem,
    refuse_corners,
    sort_objects,
)
from mbv2_backbone.common.messages import UserError

IMAGE = dict(width=40, height=30)
OUTLINE = [[4, 5, 14, 5, 14, 25, 4, 25]]


def test_objects_unfit_for_training_are_separated():
    objects = [
        Object('apple', 1, (-5, 2, 30, 40)),
        Object('apple', 2, (5, 2, 5.5, 40)),
        Object('apple', 3, (90, 2, 95, 40)),
        Object('pear', 4, (1, 2, 9, 9)),
        Object('apple', 5, (4, 5, 14, 25), outline=[[1, 1, 2, 1, 2, 2]]),
    ]
    sound, dropped, doubted = sort_objects(objects, ('apple',), (80, 60))
    assert [box for _, box in sound] == [(0, 2, 30, 40), (4, 5, 14, 25)]
    problems = ['smaller than a pixel', 'outside the image', "unknown class 'pear'"]
    assert dropped == list(zip((2, 3, 4), problems, strict=True))
    ((stored, why),) = doubted
    assert stored == 5
    assert 'outline from (1, 1) to (2, 2), but its box' in why
    assert sound[1][0].outline is None, 'it must not be written by a conversion'
    assert len(sort_objects(objects, ('apple',), (100, 60))[0]) == 3


def read(**fields):
    return coco_object(dict(category_id=3) | fields, {3: 'cat'}, IMAGE)


@pytest.mark.parametrize('bbox', [None, [], [0, 0, 0, 0]])
def test_a_missing_box_is_that_around_the_outline(bbox):
    assert read(bbox=bbox, segmentation=OUTLINE).xyxy == (4, 5, 14, 25)
    runs = dict(size=[30, 40], counts=[125] + [20, 10] * 9 + [20, 785])
    assert read(bbox=bbox, segmentation=runs).xyxy == (4, 5, 14, 25)


def test_a_box_is_believed_before_its_outline():
    assert read(bbox=[1, 2, 3, 4], segmentation=OUTLINE).xyxy == (1, 2, 4, 6)
    assert read(bbox=['1', 2, 3, 4], segmentation=OUTLINE).problem == 'not four numbers'


@pytest.mark.parametrize(
    ('fields', 'problem'),
    [
        (dict(keypoints=[5, 6, 2, 8, 9, 1]), 'only key points'),
        (dict(keypoints=[5, 6, 2], segmentation=[]), 'only key points'),
        (dict(), 'no box and no outline'),
        (
            dict(segmentation=dict(size=[60, 80], counts=[4800])),
            'no box, and has run lengths of he',
        ),
        (
            dict(segmentation=[[1200, 20, 10, 20, 10, 20]]),
            'no box, and has an outline from (10, 20)',
        ),
    ],
)
def test_without_any_box(fields, problem):
    item = read(**fields)
    assert item.xyxy is None
    assert item.problem.startswith(problem)


def test_crowds_and_those_to_ignore_are_ignored_alike():
    """mmdet (onedl-mmdetection 3.5.1) skips `ignore`; pycocotools 2.0.11 puts `iscrowd` there."""
    flags = [dict(), dict(iscrowd=0, ignore=0), dict(iscrowd=1), dict(ignore=1), dict(ignore=True)]
    assert [read(**one).is_ignored for one in flags] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ('learned', 'ignored', 'text'),
    [(0, 0, ''), (5, 5, ''), (4, 5, '5 of 9 boxes are ignored'), (0, 1, 'all 1 boxes are ignored')],
)
def test_more_than_half_ignored_is_told(learned, ignored, text):
    assert ignored_problem(learned, ignored).startswith(text)
    assert bool(ignored_problem(learned, ignored)) == bool(text)


def coco(boxes):
    items = [dict(id=i, image_id=1, category_id=3, bbox=box) for i, box in enumerate(boxes)]
    return dict(images=[dict(id=1, width=40, height=30)], annotations=items)


CORNERS = [[20, 3, 38, 20], [25, 2, 30, 28], [2, 16, 20, 29], [1, 1, 5, 9]]


def test_corners_in_the_place_of_sizes_are_refused():
    with pytest.raises(UserError, match=r'3 of 4 boxes that end outside.*x, y, width, height'):
        refuse_corners(coco(CORNERS))


@pytest.mark.parametrize(
    'boxes',
    [
        [],
        CORNERS[:2],  # too few to tell
        [*CORNERS, [20, 3, 9, 9]],  # no corners
        [[0, 0, 41, 31]] * 5,  # rounded
        [[2, 2, 20, 20]] * 40 + CORNERS[:3],  # a few that are cut
        [None, 'x', [1, 2], [0, 0, 0, 0]],
    ],
)
def test_other_boxes_are_not_taken_for_corners(boxes):
    refuse_corners(coco(boxes))
