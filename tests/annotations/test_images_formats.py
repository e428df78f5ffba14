"""Every image format through every door: all see the same pixels, of the same size.

The right value is the pixels that were written, turned as EXIF 2.3 (table 6) says. Beside it, what
readers made of it in 2026: OpenCV 4.12 turns neither WebP nor AVIF, OpenCV 5.0 WebP alone, Pillow
13 both; OpenCV's TIFF reader turns even with IMREAD_IGNORE_ORIENTATION, and mixes alpha into the
colours; 16-bit grey is half as bright in OpenCV, which drops the lower byte, as in the file, but
white in Pillow's `convert('RGB')`, which clips at 255.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fault import coco
from helpers.image_formats import STORED_WH, encoded, formats, photo, turned
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mbv2_backbone.annotations.images import read_image_facts
from mbv2_backbone.deploy.image import load_rgb
from mbv2_backbone.workbench.checks.broken_images import decode_problem
from mbv2_backbone.workbench.checks.image_files import judge
from mbv2_backbone.workbench.configs.image_loader import read_as_seen
from mbv2_backbone.workbench.data.show.show import folder_sheet
from mbv2_backbone.workbench.predict.inputs import Source
from mbv2_backbone.workbench.predict.outputs import PredictionRun
from mbv2_backbone.workbench.report.pictures import compare_masks
from mbv2_backbone.workbench.report.ranking import RankedImage
from mbv2_backbone.workbench.serve.answer import answer

FORMATS = formats()
TURNED_WH = STORED_WH[::-1]


def coco_of(path, size_wh):
    width, height = size_wh
    box = dict(id=1, image_id=1, category_id=1, bbox=[4, 4, 3, 3], area=9, iscrowd=0)
    return dict(
        images=[dict(id=1, file_name=path.name, width=width, height=height)],
        annotations=[box],
        categories=[dict(id=1, name='disc')],
    )


def in_training(path, size_wh, loader):
    """Return what a detector is trained on, RGB."""
    results = coco(path.parent, coco_of(path, size_wh), [dict(type=loader)]).prepare_data(0)
    if 'img_bytes' in results:
        results = Compose([dict(type='mmcv.LoadImageFromFile')])(results)
    assert results['img'].shape[:2] == results['img_shape'] == results['ori_shape']
    return results['img'][..., ::-1]


def without_boxes(path, split):
    """Return what a run makes of a dataset whose annotations give no size, as mmseg's, RGB."""
    init_default_scope('mmseg')
    steps = [dict(type='LoadImageFromFile')]
    inner = dict(dataset=dict(dataset=dict(type='BaseSegDataset', pipeline=steps)))
    cfg = Config({f'{split}_dataloader': inner})
    planned = read_as_seen().change(cfg)[f'{split}_dataloader'].dataset.dataset.pipeline
    assert cfg[f'{split}_dataloader'].dataset.dataset.pipeline == steps
    return Compose(planned)(dict(img_path=str(path)))['img'][..., ::-1]


class Seen:
    """A model that keeps what it would predict on."""

    painter = SimpleNamespace(masks=None)

    def __call__(self, images):
        self.image = images[0][..., ::-1]
        return [{}]

    def stream(self, items, batch_size):
        del batch_size
        for source, image in items:
            yield source, image, self([image])[0]

    def rows(self, *_):
        return []


def in_predict(path):
    seen = Seen()
    rows = SimpleNamespace(path='p.json', add=list)
    run = PredictionRun(
        predictor=seen, out=path.parent, rows=rows, batch_size=1, draw=False, inspector=None
    )
    run.predict_stills([Source(str(path), 'photo', is_video=False)], {str(path): 1})
    return seen.image


def on_the_page(path):
    seen = Seen()
    told = answer(seen, path.read_bytes())
    assert (told['width'], told['height']) == seen.image.shape[1::-1]
    return seen.image


def panel(path, size_hw):
    black = encoded(np.zeros(size_hw, np.uint8), 'PNG')
    return compare_masks(RankedImage(str(path), size_hw, 0, {}, (None, black)), [(0, 0, 0)])


def contact_sheet(path, size_wh):
    folder = path.with_suffix('')
    folder.mkdir()
    (folder / 'a.json').write_text(json.dumps(coco_of(path, size_wh)))
    (folder / path.name).write_bytes(path.read_bytes())
    sheet = folder_sheet(str(folder), split='a', num=1, seed=0)
    return sheet[60:, :400]  # below the folder's name, which is as wide as it is long


@pytest.mark.parametrize('name', FORMATS)
def test_every_door(name, tmp_path):
    data, pixels, difference, note = FORMATS[name]
    path = tmp_path / f'photo.{name.split()[0]}'
    path.write_bytes(data)
    size_wh = width, height = pixels.shape[1::-1]

    facts = read_image_facts(str(path))
    assert (facts.error, facts.seen_wh) == ('', size_wh)
    assert decode_problem(str(path)) is None
    note = f'are {note}, read as 8-bit colour' if note else ''
    assert judge(facts, dict(width=width, height=height, instances=[])) == ('', note)

    found = {
        'training': in_training(path, size_wh, 'LoadImageFromFile'),
        'training, lazily': in_training(path, size_wh, 'LoadImageLazily'),
        'training without boxes': without_boxes(path, 'train'),
        'testing without boxes': without_boxes(path, 'test'),
        'predict.py': in_predict(path),
        'the page': on_the_page(path),
        'Predictor': load_rgb(path),
    }
    assert {door: seen.shape for door, seen in found.items()} == dict.fromkeys(found, pixels.shape)
    worst = {door: abs(seen.astype(int) - pixels).max() for door, seen in found.items()}
    assert max(worst.values()) <= difference, worst

    right = tmp_path / 'right' / path.name
    right.parent.mkdir()
    right.write_bytes(encoded(np.ascontiguousarray(pixels), 'PNG'))
    for drawn in (
        [panel(each, pixels.shape[:2]) for each in (path, right)],
        [contact_sheet(each, size_wh) for each in (path, right)],
    ):
        assert drawn[0].shape == drawn[1].shape
        assert abs(drawn[0].astype(int) - drawn[1]).max() <= difference + 1


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
@pytest.mark.parametrize('file_format', ['JPEG', 'PNG', 'WEBP', 'AVIF', 'TIFF'])
@pytest.mark.parametrize('loader', ['LoadImageFromFile', 'LoadImageLazily'])
def test_boxes_of_the_pixels_as_stored(tmp_path, file_format, orientation, loader):
    """As check tells: where only the stored size fits the annotation, the image stays lying."""
    path = tmp_path / 'a.img'
    path.write_bytes(encoded(photo(), file_format, orientation))
    facts = read_image_facts(str(path))
    assert (facts.stored_wh, facts.seen_wh) == (STORED_WH, TURNED_WH)
    sample = dict(width=STORED_WH[0], height=STORED_WH[1])
    assert judge(facts, sample)[1].startswith('are not rotated as their EXIF data says')
    found = in_training(path, STORED_WH, loader).astype(int)
    limit = 30 if file_format in ('WEBP', 'AVIF') else 8
    assert found.shape == photo().shape
    assert abs(found - photo()).max() <= limit
    assert (turned(found, orientation) == load_rgb(path)).all()


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
    dataset = coco(tmp_path, coco_of(path, (8, 8)), [dict(type='LoadImageLazily')])
    with pytest.raises(ValueError, match='has no 8-bit colours'):
        dataset.prepare_data(0)
