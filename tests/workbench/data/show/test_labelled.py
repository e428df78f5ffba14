"""Boxes, polygons, masks and names are drawn in the right place."""

import numpy as np
import pytest
from helpers.show import PLAIN, TEAL, is_colour

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.records import Item
from mbv2_backbone.workbench.data.show.labelled import Classes, LabelledImage, draw_labels
from mbv2_backbone.workbench.data.show.sheet import Group, _legend, contact_sheet, picked, shortened
from mbv2_backbone.workbench.data.show.show import distinct_colours
from mbv2_backbone.workbench.drawing.pixels import letter_font

RED, GREEN = (255, 0, 0), (0, 200, 0)
BOXES = Classes(('cat', 'dog'), (RED, GREEN))
MASKS = Classes(('background', 'road'), ((0, 0, 0), (0, 0, 250)))
IMAGES = Classes(('day', 'night'), ((0, 200, 200), (200, 0, 200)))


def draw(shapes=(), label_map=None, size=(200, 100), image=PLAIN):
    return draw_labels(LabelledImage(image, shapes, label_map), size, BOXES, MASKS, IMAGES)


@pytest.mark.parametrize('scale', [1, 2])
def test_a_box_is_drawn_on_its_first_and_last_pixels(scale):
    drawn = draw([Item(0, (20, 30, 60, 80))], size=(200 * scale, 100 * scale))
    x1, y1, x2, y2 = (scale * v for v in (20, 30, 60, 80))
    is_red = is_colour(drawn, RED)
    inside = np.zeros_like(is_red)
    inside[y1:y2, x1:x2] = True
    ring = inside.copy()
    ring[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2] = False
    assert is_red[ring].all()
    assert not is_red[inside & ~ring].any()
    assert not is_red[y2:].any()
    assert not is_red[:, x2:].any()
    assert is_red[:y1].any(), 'the name stands above the box'


def test_an_ignored_box_is_dashed():
    whole, dashed = (
        is_colour(draw([Item(1, (20, 30, 80, 90), is_ignored=flag)]), GREEN)[85:90, 20:80]
        for flag in (False, True)
    )
    assert whole.any(0).all()
    assert 0.3 < dashed.any(0).mean() < 0.8


def test_boxes_at_the_edges_stay_inside():
    for box in [(0, 0, 200, 100), (-5, -5, 300, 300), (199, 99, 200, 100), (10, 10, 10.2, 10.2)]:
        drawn = draw([Item(0, box)])
        assert drawn.shape == (100, 200, 3)
        assert is_colour(drawn, RED).any()


def test_no_tag_covers_another():
    shapes = [Item(0, (50, 40, 90, 80))] * 5
    font = letter_font((308, 308))
    tag = np.ceil(font.getlength('cat')) * font.size
    red = is_colour(draw(shapes), RED)
    one = is_colour(draw(shapes[:1]), RED)
    # There is room above, in and below the box; a fifth tag has none and is left out.
    assert 1.5 * tag < red.sum() - one.sum() < 4 * 1.6 * tag


def test_a_name_wider_than_the_tile_is_left_out():
    classes = Classes(('a name much wider than a small tile',), (RED,))
    drawn = draw_labels(
        LabelledImage(PLAIN, [Item(0, (20, 40, 60, 80))]), (60, 30), classes, MASKS, IMAGES
    )
    assert is_colour(drawn, RED).any()
    assert not is_colour(drawn[:10], RED).any()


def test_outlines_are_filled():
    polygon = [20, 20, 80, 20, 80, 80, 20, 80]
    drawn = draw([Item(1, (20, 20, 80, 80), [polygon])])
    assert drawn[60, 60, 1] > 140
    assert is_colour(drawn[60, 150], TEAL)


def test_masks_are_overlaid_but_black_is_not():
    label_map = np.zeros((100, 200), np.uint8)
    label_map[:50] = 1
    label_map[:, 150:] = 255
    drawn = draw(label_map=label_map)
    assert drawn[20, 20, 0] > 150
    assert is_colour(drawn[80, 20], TEAL)
    assert is_colour(drawn[20, 180], TEAL)


def test_the_class_of_an_image_is_in_its_corner_and_in_the_legend():
    one = LabelledImage(PLAIN, label=1)
    drawn = draw_labels(one, (200, 100), BOXES, MASKS, IMAGES)
    tag = np.flatnonzero(is_colour(drawn, IMAGES.palette[1]).any(1))
    assert tag[0] == 0
    assert tag[-1] < 20
    assert is_colour(drawn[:20], IMAGES.palette[1])[:, :20].any()
    entries = _legend([one, LabelledImage(PLAIN, label=0), one], BOXES, MASKS, IMAGES)
    assert entries == [
        ('day: 1 image', IMAGES.palette[0]), ('night: 2 images', IMAGES.palette[1])
    ]  # fmt: skip


def test_the_caller_s_label_map_is_not_changed():
    label_map = np.zeros((100, 200), np.uint8)
    draw(label_map=label_map)
    assert not label_map.any()


def sheet_of(groups, **kwargs):
    return contact_sheet(
        groups, title='a dataset', boxes=BOXES, masks=MASKS, images=IMAGES, **kwargs
    )


def test_a_sheet_of_one_empty_image():
    sheet = sheet_of([Group('empty.jpg', [LabelledImage(PLAIN)])])
    assert is_colour(sheet, TEAL).sum() == 480 * 240
    assert not is_colour(sheet, RED).any()


def test_the_legend_counts_what_is_labelled():
    labelled = LabelledImage(PLAIN, [Item(0, (10, 10, 50, 50)), Item(0, (60, 60, 90, 90))])
    augmented = LabelledImage(PLAIN, [Item(1, (10, 10, 50, 50))])
    with_both = sheet_of([Group('a.jpg', [labelled, augmented])], captions=['one', 'two'])
    bottom = with_both[-24:]
    assert is_colour(bottom, RED).any()
    assert not is_colour(bottom, GREEN).any()


def test_a_long_title_is_not_cut():
    groups = [Group('a.jpg', [LabelledImage(PLAIN)])]
    title = 'configs/a_long_name_of_a_config.py, train: 1 of 1 images, seed 0 ' * 3
    sheet = contact_sheet(groups, title=title, boxes=BOXES, masks=MASKS, images=IMAGES)
    assert sheet.shape[1] > letter_font((560, 560)).getlength(title)
    assert (sheet[:40, -60:] < 100).any(), 'the end of the title is not there'
    assert (sheet[:, -2:] == 255).all()


def test_long_file_names_lose_their_middle():
    assert shortened('a.jpg', 200) == 'a.jpg'
    name = 'the_beginning_' + 'x' * 200 + '_the_end.jpg'
    short = shortened(name, 200)
    assert letter_font((392, 392)).getlength(short) <= 200
    assert '…' in short
    assert short.startswith('the_b')
    assert short.endswith('end.jpg')


def test_picked():
    assert picked(3, 16, 0) == [0, 1, 2]
    assert picked(100, 5, 1) == picked(100, 5, 1) != picked(100, 5, 2)
    assert len(set(picked(100, 50, 0))) == 50
    with pytest.raises(UserError, match='at least 1'):
        picked(3, 0, 0)
    with pytest.raises(UserError, match='no image'):
        picked(0, 1, 0)


def test_distinct_colours():
    colours = np.array(distinct_colours(14), float)
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(14)
    assert distance.min() > 40
    assert distinct_colours(0) == []
