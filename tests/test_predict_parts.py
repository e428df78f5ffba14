"""The parts of a prediction run: work in the background, drawn boxes, rows."""

import json
import threading
import time

import numpy as np
import pytest
from mmengine.structures import InstanceData

from mbv2_backbone.engine.background import in_background
from mbv2_backbone.engine.coco_rows import RowFile
from mbv2_backbone.engine.drawing import Painter, draw_boxes
from mbv2_backbone.engine.inputs import find_sources

RED, BLUE = (250, 10, 20), (20, 30, 240)


def test_background_keeps_the_order_and_works_in_one_other_thread():
    threads = set()

    def make():
        for i in range(20):
            threads.add(threading.get_ident())
            yield i

    assert list(in_background(make(), ahead=3)) == list(range(20))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert list(in_background([], ahead=3)) == []


def test_background_makes_no_more_than_it_may():
    made = []

    def make():
        for i in range(50):
            made.append(i)
            yield i

    items = in_background(make(), ahead=4)
    next(items)
    time.sleep(0.1)
    assert len(made) == 5  # the one that was taken, and four ahead
    items.close()
    time.sleep(0.1)
    assert len(made) == 5


def test_an_error_in_the_background_comes_in_its_place():
    def make():
        yield 1
        raise ValueError('broken')

    items = in_background(make(), ahead=4)
    assert next(items) == 1
    with pytest.raises(ValueError, match='broken'):
        next(items)


ROWS = [dict(id=i, score=i / 8, name='\u00e9"') for i in range(5)]


@pytest.mark.parametrize('count', [0, 1, 5])
def test_rows_are_written_as_they_come(count, tmp_path):
    path = tmp_path / 'rows.json'
    with RowFile(path) as file:
        file.add(ROWS[:1] * min(1, count))
        file.add(iter(ROWS[1:count]))
        assert not path.exists()
    assert json.loads(path.read_text()) == ROWS[:count]
    assert file.count == count
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('count', [0, 3])
def test_a_run_that_is_cut_off_leaves_its_rows_under_another_name(count, tmp_path):
    path = tmp_path / 'rows.json'
    path.write_text('of the last run')

    def cut_off():
        yield from ROWS[:count]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), RowFile(path) as file:
        file.add(cut_off())
    assert path.read_text() == 'of the last run'
    part = tmp_path / 'rows.json.part'
    assert part.exists() == bool(count)
    if count:
        assert json.loads(part.read_text()) == ROWS[:count]


def test_results_of_different_files_have_different_names(tmp_path):
    names = 'a-2.jpg', 'a.jpg', 'a.png', 'a.bmp', 'b/a.jpg', 'c/a.jpg'
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [source.name for source in find_sources([str(tmp_path / name) for name in names])]
    assert found == ['a-2', 'a', 'a-3', 'a-4', 'a-5', 'a-6']


def test_boxes_are_drawn_where_they_are():
    image = np.full((200, 300, 3), 128, np.uint8)
    drawn = draw_boxes(image, np.array([[50, 60, 250, 180.0]]), ['disc 0.90'], [RED])
    for y, x in ((60, 200), (180, 100), (120, 50), (120, 250)):
        assert drawn[y, x].tolist() == list(RED[::-1])  # BGR
    assert (drawn[62:178, 53:248] == 128).all()
    assert (image == 128).all()
    tag = drawn[40:60, 50:120].reshape(-1, 3)
    assert {tuple(RED[::-1]), (255, 255, 255)} <= set(map(tuple, tag.tolist()))
    assert (draw_boxes(image, np.zeros((0, 4)), [], []) == image).all()


def test_a_name_stays_inside_of_the_image_and_the_best_box_on_top():
    image = np.zeros((100, 100, 3), np.uint8)
    boxes = np.array([[0, 0, 99, 99.0], [0, 0, 99, 99.0]])
    drawn = draw_boxes(image, boxes, ['first', 'second'], [RED, BLUE])
    assert drawn[99, 50].tolist() == list(RED[::-1])
    corner = draw_boxes(image, np.array([[95, 50, 99, 99.0]]), ['a long name'], [RED])
    assert (corner[40:50, 40:] == RED[::-1]).all(-1).mean() > 0.3


def test_only_boxes_above_the_threshold_are_drawn():
    from mmdet.structures import DetDataSample

    painter = Painter((), (), box_classes=('a', 'b'), box_palette=(RED, BLUE), score_thr=0.5)
    found = InstanceData(
        bboxes=np.array([[10, 30, 40, 60], [60, 30, 90, 60]], np.float32),
        scores=np.array([0.9, 0.4], np.float32),
        labels=np.array([1, 0]),
    )
    picture = painter.prediction(
        np.zeros((100, 100, 3), np.uint8), DetDataSample(pred_instances=found.to_tensor())
    )
    assert picture[60, 25].tolist() == list(BLUE[::-1])
    assert not (picture == RED[::-1]).all(-1).any()
