"""LabelMe's shapes: masks, shapes without a label."""

import base64
import io
import json

import numpy as np
import pytest
from helpers.check import texts
from helpers.dataset import HEIGHT, WIDTH, save_image
from PIL import Image
from pycocotools import mask as mask_utils

from mbv2_backbone.workbench.data.check.check import check_folder
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.find import find_dataset


def png(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, 'PNG')
    return base64.b64encode(buffer.getvalue()).decode()


def mask_shape(pixels, **more):
    """Return a shape as LabelMe 6.3 stores it, whose second point is the last pixel.

    Its reader does `whole[y1 : y2 + 1, x1 : x2 + 1] = mask` (`labelme/utils/shape.py`).
    """
    ys, xs = np.nonzero(pixels)
    x1, y1, x2, y2 = (int(v) for v in (xs.min(), ys.min(), xs.max(), ys.max()))
    part = png(pixels[y1 : y2 + 1, x1 : x2 + 1])
    points = [[x1, y1], [x2, y2]]
    return dict(label='ball', shape_type='mask', points=points, mask=part) | more


def write(root, *shapes):
    for name in 'ab':
        save_image(root / f'{name}.jpg', ord(name))
        data = dict(shapes=shapes, imageWidth=WIDTH, imageHeight=HEIGHT)
        (root / f'{name}.json').write_text(json.dumps(data))
    return root


def ring():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:31, 20:50] = True
    mask[15:20, 30:40] = False
    return mask


def test_a_mask_keeps_its_last_pixels_and_its_outline(tmp_path):
    mask = ring()
    source = write(tmp_path / 'in', mask_shape(mask))
    assert find_dataset(source).images[0].record.boxes == ((20, 10, 50, 31),)
    done = convert(source, tmp_path / 'out', to='coco')
    assert done.problems == []
    document = json.loads((tmp_path / 'out/annotations/train.json').read_text())
    (annotation,) = [a for a in document['annotations'] if a['image_id'] == 1]
    assert annotation['bbox'] == [20, 10, 30, 21]
    parts = [list(map(float, part)) for part in annotation['segmentation']]
    runs = mask_utils.merge(mask_utils.frPyObjects(parts, HEIGHT, WIDTH))
    np.testing.assert_array_equal(mask_utils.decode(runs), mask)


def test_a_mask_and_a_polygon_of_one_object(tmp_path):
    polygon = dict(label='ball', shape_type='polygon', points=[[2, 3], [9, 3], [9, 8]])
    shapes = [mask_shape(ring(), group_id=4), polygon | dict(group_id=4)]
    source = write(tmp_path / 'in', *shapes)
    assert find_dataset(source).images[0].record.boxes == ((2, 3, 50, 31),)
    assert [2, 3, 9, 3, 9, 8] in find_dataset(source).images[0].read((0, 0)).objects[0].outline


@pytest.mark.parametrize(
    ('more', 'problem'),
    [
        (dict(mask=None), 'without a mask that can be read'),
        (dict(mask='AAAA'), 'without a mask that can be read'),
        (dict(points=[]), 'without a mask that can be read'),
        (dict(points=[[None, 1], [2, 3]]), 'without a mask that can be read'),
        (dict(mask=png(np.zeros((4, 4)))), 'an empty mask'),
        (dict(label=None), 'no class name'),
        (dict(label=' '), 'no class name'),
    ],
)
def test_shapes_that_cannot_be_read_are_named(more, problem, tmp_path):
    whole = dict(label='ball', shape_type='rectangle', points=[[1, 2], [30, 40]])
    report = check_folder(write(tmp_path, mask_shape(ring(), **more), whole))
    assert f'1 boxes are dropped: 1 {problem}' in texts(report, 'warning')
    assert report.dataset.classes == ('ball',)
    assert report.stats['train'].boxes == dict(ball=1)
