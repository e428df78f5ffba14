"""Every image format through every door: all see the same pixels, of the same size.

The right value is the pixels that were written, turned as EXIF 2.3 (table 6) says. Beside it, what
readers made of it in 2026: OpenCV 4.12 turns neither WebP nor AVIF, OpenCV 5.0 WebP alone, Pillow
13 both; OpenCV's TIFF reader turns even with IMREAD_IGNORE_ORIENTATION, and mixes alpha into the
colours; 16-bit grey is half as bright in OpenCV, which drops the lower byte, as in the file, but
white in Pillow's `convert('RGB')`, which clips at 255.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fault import coco
from helpers.photos import STORED_WH, encoded, formats, photo, turned
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mbv2_backbone.annotations.images import read_image_facts
from mbv2_backbone.deploy.image import load_rgb
from mbv2_backbone.workbench.checks.broken_images import decode_problem
from mbv2_backbone.workbench.checks.image_files import judge
from mbv2_backbone.workbench.configs.image_loader import read_as_seen
from mbv2_backbone.workbench.predict.inputs import Source
from mbv2_backbone.workbench.predict.outputs import PredictionRun
from mbv2_backbone.workbench.report.pictures import compare_masks
from mbv2_backbone.workbench.report.ranking import RankedImage
from mbv2_backbone.workbench.serve.answer import answer

FORMATS = formats()
TURNED_WH = STORED_WH[::-1]


@pytest.fixture(params=FORMATS)
def case(request, tmp_path):
    data, pixels, difference, note = FORMATS[request.param]
    path = tmp_path / f'photo.{request.param.split()[0]}'
    path.write_bytes(data)
    return SimpleNamespace(path=path, rgb=pixels, difference=difference, note=note)


def agree(found, case):
    assert found.dtype == np.uint8
    assert found.shape == case.rgb.shape
    assert abs(found.astype(int) - case.rgb).max() <= case.difference


def coco_of(path, size_wh, boxes):
    width, height = size_wh
    return dict(
        images=[dict(id=1, file_name=path.name, width=width, height=height)],
        annotations=[
            dict(id=i, image_id=1, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0)
            for i, box in enumerate(boxes, 1)
        ],
        categories=[dict(id=1, name='disc')],
    )


def loaded(dataset):
    results = dataset.prepare_data(0)
    if 'img_bytes' in results:
        results = Compose([dict(type='mmcv.LoadImageFromFile')])(results)
    assert results['img'].shape[:2] == results['img_shape'] == results['ori_shape']
    return results['img'][..., ::-1]


def test_check(case):
    facts = read_image_facts(str(case.path))
    assert (facts.error, facts.seen_wh) == ('', case.rgb.shape[1::-1])
    assert decode_problem(str(case.path)) is None
    width, height = facts.seen_wh
    note = f'are {case.note}, read as 8-bit colour' if case.note else ''
    assert judge(facts, dict(width=width, height=height, instances=[])) == ('', note)


@pytest.mark.parametrize('loader', ['LoadImageFromFile', 'LoadImageLazily'])
def test_training_a_detector(case, loader):
    data = coco_of(case.path, case.rgb.shape[1::-1], [[4, 4, 9, 9]])
    agree(loaded(coco(case.path.parent, data, [dict(type=loader)])), case)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_training_and_testing_without_boxes(case, split):
    """No annotation gives the size: mmseg's datasets, and any dataset of the toolboxes' own."""
    init_default_scope('mmseg')
    steps = [dict(type='LoadImageFromFile')]
    inner = dict(dataset=dict(dataset=dict(type='BaseSegDataset', pipeline=steps)))
    cfg = Config({f'{split}_dataloader': inner})
    planned = read_as_seen().change(cfg)
    results = Compose(planned[f'{split}_dataloader'].dataset.dataset.pipeline)(
        dict(img_path=str(case.path))
    )
    agree(results['img'][..., ::-1], case)
    assert cfg[f'{split}_dataloader'].dataset.dataset.pipeline == steps


class Seen:
    """Keeps the images that a model would predict on."""

    painter = SimpleNamespace(masks=None)

    def __call__(self, images):
        self.images = images
        return [{}]

    def stream(self, items, batch_size):
        del batch_size
        items = list(items)
        self.images = [image for _, image in items]
        return [(source, image, {}) for source, image in items]

    def rows(self, *_):
        return []


def test_predict(case, tmp_path):
    seen = Seen()
    rows = SimpleNamespace(path=tmp_path / 'p.json', add=list)
    run = PredictionRun(
        predictor=seen, out=tmp_path, rows=rows, batch_size=1, draw=False, inspector=None
    )
    run.predict_stills([Source(str(case.path), 'photo', is_video=False)], {str(case.path): 1})
    agree(seen.images[0][..., ::-1], case)


def test_the_page(case):
    seen = Seen()
    told = answer(seen, case.path.read_bytes())
    assert (told['width'], told['height']) == case.rgb.shape[1::-1]
    agree(seen.images[0][..., ::-1], case)


def test_the_report(case, tmp_path):
    (tmp_path / 'right.png').write_bytes(encoded(np.ascontiguousarray(case.rgb), 'PNG'))
    black = encoded(np.zeros(case.rgb.shape[:2], np.uint8), 'PNG')
    found, right = (
        compare_masks(
            RankedImage(str(path), case.rgb.shape[:2], 0, {}, (None, black)), [(0, 0, 0)]
        ).astype(int)
        for path in (case.path, tmp_path / 'right.png')
    )
    assert found.shape == right.shape
    assert abs(found - right).max() <= case.difference + 1


def test_an_exported_model(case):
    agree(load_rgb(case.path), case)


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
@pytest.mark.parametrize('file_format', ['JPEG', 'PNG', 'WEBP', 'AVIF', 'TIFF'])
@pytest.mark.parametrize('loader', ['LoadImageFromFile', 'LoadImageLazily'])
def test_boxes_of_the_pixels_as_stored(tmp_path, file_format, orientation, loader):
    """As check tells: where only the stored size fits the annotation, the image stays lying."""
    path = tmp_path / 'a.img'
    path.write_bytes(encoded(photo(), file_format, orientation, quality=95))
    facts = read_image_facts(str(path))
    assert (facts.stored_wh, facts.seen_wh) == (STORED_WH, TURNED_WH)
    sample = dict(width=STORED_WH[0], height=STORED_WH[1])
    assert judge(facts, sample)[1].startswith('are not rotated as their EXIF data says')
    data = coco_of(path, STORED_WH, [[4, 4, 9, 9]])
    found = loaded(coco(tmp_path, data, [dict(type=loader)])).astype(int)
    limit = 30 if file_format in ('WEBP', 'AVIF') else 8
    assert found.shape == photo().shape
    assert abs(found - photo()).max() <= limit
    upright = turned(found, orientation)
    assert abs(upright.astype(int) - load_rgb(path)).max() == 0


@pytest.mark.parametrize('pixels', [np.ones((8, 8), np.float32), np.ones((8, 8), np.int32)])
def test_numbers_that_are_no_colours_are_refused_by_all(tmp_path, pixels):
    """32-bit TIFF: OpenCV 4.12 gives nothing, Pillow 13 clips, so that 0 to 1 becomes black."""
    path = tmp_path / 'a.tiff'
    path.write_bytes(encoded(pixels, 'TIFF'))
    error = read_image_facts(str(path)).error
    assert 'has no 8-bit colours' in error
    assert decode_problem(str(path)) == error
    with pytest.raises(ValueError, match='has no 8-bit colours'):
        load_rgb(path)
    dataset = coco(tmp_path, coco_of(path, (8, 8), [[1, 1, 5, 5]]), [dict(type='LoadImageLazily')])
    with pytest.raises(ValueError, match='has no 8-bit colours'):
        dataset.prepare_data(0)
