"""Lazy loading, colour changes and whole pipelines against mmdet."""

import io
import json
from math import ceil

import cv2
import numpy as np
import pytest
import torch
from helpers.det import MEAN, build, ours_step, sample, stock_steps
from helpers.transforms import run, smooth_image
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.registry import init_default_scope
from PIL import Image

from mbv2_backbone.det import CheckedCocoDataset, CheckedVOCDataset, RandomExpandCropResize
from mbv2_backbone.det import transforms as module
from mbv2_backbone.det.colours import distort_colours


def encode(img, suffix, **options):
    file = io.BytesIO()
    img.save(file, suffix, **options)
    return file.getvalue()


def annotated(path, boxes=((5, 5, 90, 70),)):
    return dict(
        img_path=str(path),
        instances=[dict(bbox=list(box), bbox_label=0, ignore_flag=0) for box in boxes],
    )


def file_steps(load, size=(64, 64), **kwargs):
    boxes = dict(type='LoadAnnotations', with_bbox=True)
    return [dict(type=load, **kwargs), boxes, ours_step(size)]


def test_reduced_decoding_shows_the_same_as_full_decoding(tmp_path, monkeypatch):
    path = tmp_path / 'a.jpg'
    path.write_bytes(encode(Image.fromarray(smooth_image(600, 799)), 'jpeg', quality=95))
    used = []
    decode = module.decode_plain
    monkeypatch.setattr(module, 'decode_plain', lambda *args: used.append(args[1]) or decode(*args))
    lazy = build(*file_steps('LoadImageLazily', (96, 96)))
    full = build(*file_steps('LoadImageFromFile', (96, 96)))
    for seed in range(40):
        got, got_next = run(lazy, annotated(path), seed)
        expected, expected_next = run(full, annotated(path), seed)
        assert got_next == expected_next
        assert torch.equal(got['gt_bboxes'].tensor, expected['gt_bboxes'].tensor)
        assert got['ori_shape'] == expected['ori_shape']
        difference = abs(got['img'].astype(int) - expected['img']).max(-1)
        fill = np.array(MEAN[::-1]).astype(np.uint8)
        is_image = (expected['img'] != fill).any(-1).astype(np.uint8)
        is_inner = cv2.erode(is_image, np.ones((5, 5))) > 0
        assert difference[is_inner].max(initial=0) < 8, seed
        assert difference.mean() < 3, seed  # with the edge of the image, where all is sharpest
    assert {flag & ~cv2.IMREAD_IGNORE_ORIENTATION for flag in used} >= {
        cv2.IMREAD_REDUCED_COLOR_2,
        cv2.IMREAD_REDUCED_COLOR_4,
        cv2.IMREAD_REDUCED_COLOR_8,
    }


def image_files():
    colour = Image.fromarray(smooth_image(70, 110))
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = Image.Exif()
    upright[0x0112] = 1
    return {
        'gray jpeg': (encode(colour.convert('L'), 'jpeg'), True),
        'progressive jpeg': (encode(colour, 'jpeg', progressive=True), True),
        'upright jpeg': (encode(colour, 'jpeg', exif=upright), True),
        'turned jpeg': (encode(colour, 'jpeg', exif=turned), False),
        'cmyk jpeg': (encode(colour.convert('CMYK'), 'jpeg'), False),
        'png': (encode(colour, 'png'), False),
        'gray png': (encode(colour.convert('L'), 'png'), False),
        'png with alpha': (encode(colour.convert('RGBA'), 'png'), False),
        'bmp': (encode(colour, 'bmp'), False),
    }


@pytest.mark.parametrize('kind', image_files())
def test_every_kind_of_file_is_loaded_as_by_the_stock_loader(kind, tmp_path):
    data, is_lazy = image_files()[kind]
    (tmp_path / 'a').write_bytes(data)
    loaded = build(dict(type='LoadImageLazily'))(annotated(tmp_path / 'a'))
    assert ('img_bytes' in loaded, 'img' in loaded) == (is_lazy, not is_lazy)
    lazy, full = build(*file_steps('LoadImageLazily')), build(*file_steps('LoadImageFromFile'))
    for seed in range(12):
        got, _ = run(lazy, annotated(tmp_path / 'a'), seed)
        expected, _ = run(full, annotated(tmp_path / 'a'), seed)
        assert got['img'].shape == (64, 64, 3)
        assert got['ori_shape'] == ((110, 70) if kind == 'turned jpeg' else (70, 110))
        assert got['ori_shape'] == expected['ori_shape']
        assert torch.equal(got['gt_bboxes'].tensor, expected['gt_bboxes'].tensor)
        assert abs(got['img'].astype(int) - expected['img']).mean() < 1.5


def test_files_load_from_any_backend():
    data, _ = image_files()['gray jpeg']

    class Shelf(BaseStorageBackend):
        def get(self, filepath):
            return {'shelf/a.jpg': data}[filepath]

        def get_text(self, filepath):
            raise NotImplementedError

    register_backend('shelf', Shelf, force=True)
    lazy = build(*file_steps('LoadImageLazily', backend_args=dict(backend='shelf')))
    assert run(lazy, annotated('shelf/a.jpg'), 0)[0]['img'].shape == (64, 64, 3)


@pytest.mark.parametrize('data', [b'', b'no image', b'\xff\xd8\xff'])
def test_broken_files_are_named(data, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(data)
    with pytest.raises(ValueError, match=r'broken\.jpg'):
        build(*file_steps('LoadImageLazily'))(annotated(tmp_path / 'broken.jpg'))


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (dict(ratio_range=(0.5, 2)), 'ratio_range'),
        (dict(ratio_range=(4, 1)), 'ratio_range'),
        (dict(min_crop_size=0), 'min_crop_size'),
        (dict(scale=(0, 9)), 'scale'),
    ],
)
def test_arguments_out_of_range_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        RandomExpandCropResize(**options)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (dict(gt_masks=np.ones((1, 30, 40))), 'gt_masks'),
        (dict(gt_seg_map=np.ones((30, 40))), 'gt_seg_map'),
        (dict(gt_bboxes=None), 'LoadAnnotations'),
        (dict(img=None), 'LoadImageLazily'),
    ],
)
def test_unsupported_fields_are_refused(change, named):
    results = {key: value for key, value in {**sample(0), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=named):
        RandomExpandCropResize()(results)


def test_plain_arrays_of_boxes_stay_plain_arrays():
    results = sample(3)
    expected, _ = run(build(ours_step()), sample(3), 5)
    results['gt_bboxes'] = results['gt_bboxes'].tensor.numpy()
    got, _ = run(build(ours_step()), results, 5)
    assert isinstance(got['gt_bboxes'], np.ndarray)
    assert np.array_equal(got['gt_bboxes'], expected['gt_bboxes'].tensor)


@pytest.mark.parametrize('view', ['as loaded', 'horizontal', 'vertical', 'diagonal'])
def test_colours_change_as_in_mmdet_but_for_rounding_and_clipping(view):
    stock = build(dict(type='PhotoMetricDistortion'))
    fast = build(dict(type='FastPhotoMetricDistortion'))
    for seed in range(60):
        img = smooth_image(40, 50, seed)
        img = {'as loaded': img, 'horizontal': img[:, ::-1], 'vertical': img[::-1]}.get(
            view, img[::-1, ::-1]
        )
        before = img.copy()
        expected, stock_next = run(stock, dict(img=img), seed)
        got, fast_next = run(fast, dict(img=img), seed)
        assert fast_next == stock_next
        assert np.array_equal(img, before)
        assert got['img'].dtype == np.uint8
        difference = abs(expected['img'].clip(0, 255) - got['img'])
        assert difference.mean() < 1.5, seed
        in_range = ((expected['img'] > 1) & (expected['img'] < 254)).all(-1)
        assert difference[in_range].max(initial=0) < 12, seed


def test_colours_without_a_change_stay_equal():
    img = smooth_image(5, 6)
    assert np.array_equal(distort_colours(img), img)


def test_colours_of_other_images_are_refused():
    fast = build(dict(type='FastPhotoMetricDistortion'))
    for img in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)):
        with pytest.raises(ValueError, match='uint8'):
            fast(dict(img=img))


@pytest.fixture
def datasets(tmp_path):
    """Return a function that makes a COCO and a VOC dataset of the same three images."""
    boxes = {0: [(11, 11, 60, 50, 0), (1, 1, 120, 90, 1)], 1: [], 2: [(30, 20, 34, 95, 0)]}
    images, annotations = [], []
    for folder in ('JPEGImages', 'Annotations'):
        (tmp_path / folder).mkdir()
    for i, objects in boxes.items():
        data = encode(Image.fromarray(smooth_image(96, 128, i)), 'jpeg', quality=95)
        (tmp_path / f'JPEGImages/{i}.jpg').write_bytes(data)
        images.append(dict(id=i, file_name=f'JPEGImages/{i}.jpg', width=128, height=96))
        xml = '<size><width>128</width><height>96</height></size>'
        for x1, y1, x2, y2, hard in objects:
            annotations.append(
                dict(id=len(annotations), image_id=i, category_id=1, iscrowd=hard,
                     area=1.0, bbox=[x1 - 1, y1 - 1, x2 - x1, y2 - y1])
            )  # fmt: skip
            xml += (
                f'<object><name>cat</name><difficult>{hard}</difficult><bndbox><xmin>{x1}</xmin>'
                f'<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
            )
        (tmp_path / f'Annotations/{i}.xml').write_text(f'<annotation>{xml}</annotation>')
    categories = [dict(id=1, name='cat')]
    file = dict(images=images, annotations=annotations, categories=categories)
    (tmp_path / 'coco.json').write_text(json.dumps(file))
    (tmp_path / 'voc.txt').write_text('0\n1\n2\n')
    options = dict(data_root=str(tmp_path), metainfo=dict(classes=('cat',)))

    def make(kind, pipeline):
        init_default_scope('mmdet')
        if kind == 'coco':
            return CheckedCocoDataset(
                ann_file='coco.json', data_prefix=dict(img=''), pipeline=pipeline, **options
            )
        return CheckedVOCDataset(
            ann_file='voc.txt', data_prefix=dict(sub_data_root=''), pipeline=pipeline, **options
        )

    return make


@pytest.mark.parametrize('kind', ['coco', 'voc'])
def test_the_whole_pipeline_packs_the_same_as_mmdets(datasets, kind):
    boxes, flip = dict(type='LoadAnnotations', with_bbox=True), dict(type='RandomFlip', prob=0.5)
    stock = datasets(kind, [
        dict(type='LoadImageFromFile'), boxes, *stock_steps(size=(32, 32)), flip,
        dict(type='PhotoMetricDistortion'), dict(type='PackDetInputs'),
    ])  # fmt: skip
    ours = datasets(kind, [
        dict(type='LoadImageLazily'), boxes, ours_step((32, 32)), flip,
        dict(type='FastPhotoMetricDistortion'), dict(type='PackDetInputs'),
    ])  # fmt: skip
    num_kept = num_ignored = 0
    for seed in range(24):
        expected, stock_next = run(stock.__getitem__, seed % 3, seed)
        got, ours_next = run(ours.__getitem__, seed % 3, seed)
        assert ours_next == stock_next
        assert (got['inputs'].dtype, got['inputs'].shape) == (torch.uint8, (3, 32, 32))
        difference = (expected['inputs'].clip(0, 255) - got['inputs'].float()).abs()
        assert difference.mean() < 4, seed
        for name in ('gt_instances', 'ignored_instances'):
            mine, theirs = got['data_samples'].get(name), expected['data_samples'].get(name)
            assert torch.equal(mine.bboxes.tensor, theirs.bboxes.tensor)
            assert torch.equal(mine.labels, theirs.labels)
        meta = got['data_samples'].metainfo
        assert meta == expected['data_samples'].metainfo
        assert meta['ori_shape'] == (96, 128)
        num_kept += len(got['data_samples'].gt_instances)
        num_ignored += len(got['data_samples'].ignored_instances)
    assert num_kept > 10
    assert num_ignored > 5


def test_reduced_size_is_rounded_up_as_the_decoder_does():
    data = encode(Image.fromarray(smooth_image(101, 203)), 'jpeg')
    for factor, flag in module.REDUCED_FLAGS.items():
        expected = (ceil(101 / factor), ceil(203 / factor))
        assert module.decode_plain(data, flag, '').shape[:2] == expected
