"""Rows of poses keep their boxes; outlines stay outlines; what can be either is refused.

A row of a pose is `class x y w h` and the key points, each x, y or x, y, visibility, as Ultralytics
8.3 documents it: https://docs.ultralytics.com/datasets/pose. Its `verify_image_label` takes the
first four numbers for the box and requires 4 + points x numbers of them.
"""

import numpy as np
import pytest
from helpers.convert import write_coco_splits
from helpers.dataset import HEIGHT, WIDTH, save_image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.find import find_dataset

SIZE = np.array([WIDTH, HEIGHT] * 2)


def boxes_of(rng, count):
    wh = rng.uniform(8, 30, (count, 2))
    corner = rng.uniform(0, (WIDTH, HEIGHT) - wh)
    return np.hstack([corner, corner + wh])


def pose_row(rng, box, count, size, label=0):
    """Return a row with points in the box; some are not labelled, with visibility 0."""
    x1, y1, x2, y2 = box / SIZE
    values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    for x, y in rng.uniform((x1, y1), (x2, y2), (count, 2)):
        mark = rng.choice([0, 1, 2])
        point = [x, y, mark] if size == 3 else [x, y]
        values += [0, 0, 0] if size == 3 and mark == 0 else point
    return f'{label} ' + ' '.join(f'{value:.6f}' for value in values)


def write_rows(root, rows, more=''):
    """Write an image with its rows for each list of rows."""
    (root / 'labels/train').mkdir(parents=True)
    for index, own in enumerate(rows):
        save_image(root / f'images/train/{index:03}.jpg')
        (root / f'labels/train/{index:03}.txt').write_text('\n'.join(own) + '\n')
    (root / 'data.yaml').write_text(f'train: images/train\nnames: [a, b]\n{more}')
    return root


def write_poses(root, count, size, more='', num_images=4):
    rng = np.random.default_rng(10 * count + size)
    boxes = [boxes_of(rng, 2) for _ in range(num_images)]
    rows = [[pose_row(rng, box, count, size) for box in own] for own in boxes]
    return write_rows(root, rows, more), boxes


def read(root):
    return [item.record for item in find_dataset(root, keep_splits=True).images]


SHAPES = [(1, 2), (2, 2), (5, 2), (17, 2), (1, 3), (2, 3), (4, 3), (17, 3)]


@pytest.mark.parametrize(('count', 'size'), SHAPES)
def test_poses_with_their_shape(count, size, tmp_path):
    root, boxes = write_poses(tmp_path, count, size, f'kpt_shape: [{count}, {size}]\n')
    for record, own in zip(read(root), boxes, strict=True):
        assert (record.problems, record.dropped) == ((), ())
        np.testing.assert_allclose(record.boxes, own, atol=1e-3)


@pytest.mark.parametrize(('count', 'size'), [shape for shape in SHAPES if shape[1] == 3])
def test_visibilities_tell_poses(count, size, tmp_path, log):
    root, boxes = write_poses(tmp_path, count, size)
    for record, own in zip(read(root), boxes, strict=True):
        np.testing.assert_allclose(record.boxes, own, atol=1e-3)
    assert sum(f'rows of {4 + 3 * count} numbers' in text for text in log) == 1


@pytest.mark.parametrize(('count', 'size'), [shape for shape in SHAPES if shape[1] == 2])
def test_what_can_be_an_outline_or_a_pose_is_refused(count, size, tmp_path):
    root, _ = write_poses(tmp_path / 'in', count, size)
    for index, record in enumerate(read(root)):
        assert record.boxes == ()
        (problem,) = record.problems
        assert f'labels/train/{index:03}.txt, line 1: {4 + 2 * count} numbers' in problem
        assert f'kpt_shape: [{count}, 2]' in problem
        assert '`task: segment`' in problem
    with pytest.raises(UserError, match='can be an outline or a box with key points'):
        convert(root, tmp_path / 'out', to='coco')


def test_the_yaml_file_says_that_rows_are_outlines(tmp_path):
    root = write_rows(tmp_path, [['0 0.5 0.5 0.4 0.4 0.6 0.5']], 'task: segment\n')
    np.testing.assert_allclose(read(root)[0].boxes, [(32, 24, 48, 30)], atol=1e-6)


@pytest.mark.parametrize('corners', [3, 4, None])
def test_outlines_stay_outlines(corners, tmp_path, log):
    """Also where all have the same number of points, as boxes at an angle have."""
    rng = np.random.default_rng(3)
    rows, expected = [], []
    for _ in range(8):
        parts = []
        for box in boxes_of(rng, 3):
            number = corners or rng.integers(3, 9)
            parts.append(rng.uniform(box[:2], box[2:], (number, 2)))
        rows.append(['1 ' + ' '.join(f'{v:.8f}' for v in (p / SIZE[:2]).ravel()) for p in parts])
        expected.append([[*part.min(0), *part.max(0)] for part in parts])
    for record, own in zip(read(write_rows(tmp_path, rows)), expected, strict=True):
        assert record.problems == ()
        kept = [box for box in own if box[2] - box[0] >= 1 and box[3] - box[1] >= 1]
        np.testing.assert_allclose(record.boxes, kept, atol=1e-3)
    assert log == []


@pytest.mark.parametrize(
    ('more', 'row', 'message'),
    [
        (
            'kpt_shape: [2, 3]\n',
            '0 .5 .5 .2 .2 .5 .5',
            r'line 2: 6 numbers.*\[2, 3\].*makes them 10',
        ),
        ('kpt_shape: [2, 4]\n', '0 .5 .5 .2 .2 .5 .5', r"kpt_shape is \['2', '4'\]; expected"),
        ('kpt_shape: 17\n', '0 .5 .5 .2 .2 .5 .5', "kpt_shape is '17'; expected"),
        ('', '0 .5 .5 .2 .2 .5 .5 .7', 'line 2: 7 numbers.*are neither a box'),
        ('', '0 50 50 20 20 50 70', 'line 2: 6 numbers.*are neither a box'),  # pixels
    ],
)
def test_rows_of_no_meaning_are_refused_by_line(more, row, message, tmp_path):
    outline = '0 0.1 0.1 0.5 0.2 0.3 0.4 0.1 0.3' if not more else '0 0.5 0.5 0.2 0.2'
    root = write_rows(tmp_path, [[outline, row]], more)
    (problem,) = read(root)[0].problems
    assert '/labels/train/000.txt' in problem or 'data.yaml' in problem
    with pytest.raises(UserError, match=message):
        raise UserError(problem)


def test_poses_of_two_lengths_are_refused(tmp_path):
    root, _ = write_poses(tmp_path, 5, 3)
    path = root / 'labels/train/003.txt'
    path.write_text('0 0.5 0.5 0.2 0.2 0.5 0.5 2\n')
    records = read(root)
    assert not any(record.boxes for record in records)
    assert 'line 1: 19 numbers' in records[0].problems[0]
    assert 'line 1: 7 numbers' in records[3].problems[0]


def test_written_outlines_are_read_again(tmp_path):
    """Few outlines with equally many points could be poses, so the YAML file tells."""
    item = dict(bbox=[16, 12, 8, 12], segmentation=[[20, 18, 16, 12, 24, 24]])
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.jpg': (40, 30, [item])}})
    convert(source, tmp_path / 'yolo', to='yolo')
    np.testing.assert_allclose(read(tmp_path / 'yolo')[0].boxes, [(16, 12, 24, 24)], atol=1e-5)


def test_corners_in_the_place_of_centres_are_refused(tmp_path):
    corners = ['0 0.5 0.1 0.9 0.6', '1 0.6 0.1 0.7 0.9', '0 0.1 0.5 0.5 0.9']
    root = write_rows(tmp_path, [corners, corners[:2]])
    first, second = read(root)
    assert '000.txt: 3 of 3 boxes end outside the image' in first.problems[0]
    assert (second.problems, len(second.boxes)) == ((), 2)  # two can be chance
