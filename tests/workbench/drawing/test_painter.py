"""Boxes, masks and legends are drawn in the right place."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmseg.structures import SegDataSample

from mbv2_backbone.workbench.configs.summary import Classes
from mbv2_backbone.workbench.drawing.painter import Painter
from mbv2_backbone.workbench.drawing.pixels import draw_boxes, overlay, tiled

RED, BLUE = (250, 10, 20), (20, 30, 240)


def test_boxes_are_drawn_in_the_right_place():
    image = np.full((200, 300, 3), 128, np.uint8)
    drawn = draw_boxes(image, np.array([[50, 60, 250, 180.0]]), ['disc 0.90'], [RED])
    for y, x in ((60, 200), (180, 100), (120, 50), (120, 250)):
        assert drawn[y, x].tolist() == list(RED[::-1])  # BGR
    assert (drawn[62:178, 53:248] == 128).all()
    assert (image == 128).all()
    tag = drawn[40:60, 50:120].reshape(-1, 3)
    assert {tuple(RED[::-1]), (255, 255, 255)} <= set(map(tuple, tag.tolist()))
    assert (draw_boxes(image, np.zeros((0, 4)), [], []) == image).all()


def test_pictures_are_put_into_rows():
    wide, high = np.zeros((50, 100, 3), np.uint8), np.full((100, 50, 3), 9, np.uint8)
    sheet = tiled([wide, high, wide, high], side=100, columns=3)
    assert sheet.shape == (212, 318, 3)  # two rows of three squares with gaps of 6 pixels
    assert (sheet[:50, :100] == 0).all()
    assert (sheet[:100, 106:156] == 9).all()
    assert (sheet[106:206, :50] == 9).all()
    assert (sheet[50:106, :100] == 255).all()
    assert tiled([wide], side=10, columns=3).shape == (11, 16, 3)


def test_a_name_stays_inside_the_image_and_the_best_box_is_on_top():
    image = np.zeros((100, 100, 3), np.uint8)
    boxes = np.array([[0, 0, 99, 99.0], [0, 0, 99, 99.0]])
    drawn = draw_boxes(image, boxes, ['first', 'second'], [RED, BLUE])
    assert drawn[99, 50].tolist() == list(RED[::-1])
    corner = draw_boxes(image, np.array([[95, 50, 99, 99.0]]), ['a long name'], [RED])
    assert (corner[40:50, 40:] == RED[::-1]).all(-1).mean() > 0.3


def test_only_boxes_above_the_threshold_are_drawn():
    from mmdet.structures import DetDataSample

    painter = Painter(boxes=Classes(('a', 'b'), (RED, BLUE)), masks=Classes(), score_thr=0.5)
    found = InstanceData(
        bboxes=np.array([[10, 30, 40, 60], [60, 30, 90, 60]], np.float32),
        scores=np.array([0.9, 0.4], np.float32),
        labels=np.array([1, 0]),
    )
    drawn = painter.prediction(
        np.zeros((100, 100, 3), np.uint8), DetDataSample(pred_instances=found.to_tensor())
    )
    assert drawn[60, 25].tolist() == list(BLUE[::-1])
    assert not (drawn == RED[::-1]).all(-1).any()


def test_three_classes_of_an_image_are_written_below_it():
    classes = Classes(tuple('abcde'), (RED, BLUE, RED, BLUE, RED))
    painter = Painter(boxes=Classes(), masks=Classes(), images=classes)
    scores = torch.tensor([0.1, 0.3, 0.05, 0.4, 0.15])
    image = np.full((60, 200, 3), 100, np.uint8)
    drawn = painter.prediction(image, BaseDataElement(pred_scores=scores))
    three = scores * (scores > 0.12)
    assert drawn.shape[0] > 60
    assert (drawn == painter.prediction(image, BaseDataElement(pred_scores=three))).all()
    assert (drawn != painter.prediction(image, BaseDataElement(pred_scores=three / 2))).any()


def test_overlay_and_legend():
    image = np.full((20, 30, 3), 100, np.uint8)
    labels = np.zeros((20, 30), np.uint8)
    labels[:, 10:], labels[:, 20:] = 1, 255
    drawn = overlay(image, labels, [(0, 0, 0), (250, 10, 20)])
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[0, 15].tolist() == pytest.approx([45 + 11, 45 + 5.5, 45 + 137.5], abs=1)
    assert (drawn[:, 20:] == 100).all()
    sample = SegDataSample(pred_sem_seg=PixelData(data=torch.tensor(labels % 255)[None]))
    names, palette = ('one', 'a rather long name', 'two'), [(0, 0, 0), (250, 10, 20), (1, 2, 3)]
    painter = Painter(boxes=Classes(), masks=Classes(names, palette))
    drawn = painter.prediction(image, sample)
    assert (drawn[:20, 30:] == 255).all()  # wider than the image: the name must fit
    assert (drawn[20:] == (20, 10, 250)).all(axis=-1).any()
    assert not (drawn[20:] == (3, 2, 1)).all(axis=-1).any()
    whole = painter.prediction(image, sample, whole_legend=True)
    assert (whole[20:] == (3, 2, 1)).all(axis=-1).any()
