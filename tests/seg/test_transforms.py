"""Resizing, cropping and flipping in one step, and colour changes, against mmseg's transforms."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch
from helpers.transforms import build_pipeline, run
from helpers.transforms import smooth_image as draw_waves
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import PackSegInputs
from PIL import Image

from mbv2_backbone.annotations.masks import read_mask
from mbv2_backbone.seg import datasets
from mbv2_backbone.seg import transforms as module
from mbv2_backbone.seg.datasets import LoadLabelMap
from mbv2_backbone.seg.transforms import (
    FastPackSegInputs,
    RandomResizeCropFlip,
    crop_of_labels,
    crop_of_resized,
    is_varied,
    sample_crop,
)

SHAPES = [(30, 40), (48, 48), (61, 37), (17, 90), (1, 1), (2, 70)]  # height, width


build = partial(build_pipeline, 'mmseg')
smooth_image = partial(draw_waves, periods=(12, 15))


def stock_steps(scale, ratio_range, crop_size, cat_max_ratio=0.75, keep_ratio=True, prob=0.5):
    return [
        dict(type='RandomResize', scale=scale, ratio_range=ratio_range, keep_ratio=keep_ratio),
        dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=cat_max_ratio),
        dict(type='RandomFlip', prob=prob),
    ]


def our_step(scale, ratio_range, crop_size, cat_max_ratio=0.75, keep_ratio=True, prob=0.5):
    return dict(
        type='RandomResizeCropFlip',
        scale=scale,
        ratio_range=ratio_range,
        crop_size=crop_size,
        cat_max_ratio=cat_max_ratio,
        keep_ratio=keep_ratio,
        flip_prob=prob,
    )


def patches(rng, height, width):
    """Return rectangles of labels, most of one class, some ignored."""
    seg_map = np.zeros((height, width), np.uint8)
    for label in rng.choice([1, 2, 3, 255], 5):
        y, x = rng.integers(0, height), rng.integers(0, width)
        seg_map[y : y + height // 3 + 1, x : x + width // 3 + 1] = label
    return seg_map


def sample(seed):
    rng = np.random.default_rng(seed)
    height, width = SHAPES[seed % len(SHAPES)]
    return dict(
        img=smooth_image(height, width, seed),
        img_shape=(height, width),
        gt_seg_map=patches(rng, height, width),
        gt_parts=patches(rng, height, width),
        seg_fields=['gt_seg_map', 'gt_parts'],
    )


@pytest.mark.parametrize(
    'options',
    [
        dict(scale=(80, 40), ratio_range=(0.5, 2.0), crop_size=(32, 32)),
        dict(scale=(80, 40), ratio_range=(0.5, 2.0), crop_size=(20, 45), prob=1.0),
        dict(scale=(50, 37), ratio_range=(0.3, 4.0), crop_size=(24, 24), keep_ratio=False),
        dict(scale=(64, 64), ratio_range=(1.0, 1.0), crop_size=(64, 16), cat_max_ratio=1.0),
    ],
)
def test_same_random_numbers_give_the_same_crop(options):
    stock, ours = build(*stock_steps(**options)), build(our_step(**options))
    for seed in range(120):
        expected, stock_next = run(stock, sample(seed), seed)
        got, our_next = run(ours, sample(seed), seed)
        assert our_next == stock_next
        for key in ('gt_seg_map', 'gt_parts'):
            assert np.array_equal(got[key], expected[key]), seed
        assert got['img'].shape == expected['img'].shape
        assert got['img'].flags.c_contiguous
        difference = abs(got['img'].astype(int) - expected['img'])
        assert difference.mean() < 0.5, seed
        assert difference.max(initial=0) <= 3, seed
        for key in ('img_shape', 'scale', 'scale_factor', 'keep_ratio', 'flip', 'flip_direction'):
            assert got[key] == expected[key], key


def test_the_crop_of_a_resized_image_errs_little_even_on_noise():
    rng = np.random.default_rng(0)
    for _ in range(150):
        height, width, *size = (int(n) for n in rng.integers(1, 160, 4) + rng.integers(0, 3, 4))
        img = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        x1, y1 = (int(rng.integers(0, n)) for n in size)
        x2, y2 = (int(rng.integers(low, n)) + 1 for low, n in zip((x1, y1), size, strict=True))
        expected = cv2.resize(img, size)[y1:y2, x1:x2].astype(int)
        got = crop_of_resized(img, size, (x1, y1, x2, y2))
        assert got.shape == expected.shape
        # 1/32 of a pixel along both axes of at most 255, and rounding.
        assert abs(got - expected).max() <= 2 * 255 / 32 + 1


def test_crop_of_labels_is_exact_at_every_scale():
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width, *size = (int(n) for n in rng.integers(1, 200, 4))
        seg_map = rng.integers(0, 256, (height, width), dtype=np.uint8)
        x1, y1 = (int(rng.integers(0, n)) for n in size)
        x2, y2 = (int(rng.integers(low, n)) + 1 for low, n in zip((x1, y1), size, strict=True))
        expected = cv2.resize(seg_map, size, interpolation=cv2.INTER_NEAREST)[y1:y2, x1:x2]
        assert np.array_equal(crop_of_labels(seg_map, size, (x1, y1, x2, y2)), expected)


def test_only_the_crop_is_resampled(monkeypatch):
    sizes = []
    resize = cv2.resize
    monkeypatch.setattr(
        module.cv2, 'resize', lambda *a, **k: sizes.append(resize(*a, **k)) or sizes[-1]
    )
    crop_of_resized(smooth_image(200, 300), (1210, 807), (600, 400, 664, 464))
    assert sizes[0].shape[0] < 200
    assert sizes[0].shape[1] < 200


def varied_slowly(seg_map, cat_max_ratio, ignore_index):
    labels, counts = np.unique(seg_map, return_counts=True)
    counts = counts[labels != ignore_index]
    return len(counts) > 1 and counts.max() / counts.sum() < cat_max_ratio


def test_varied_means_the_same_as_in_mmseg():
    rng = np.random.default_rng(0)
    answers = []
    for i in range(300):
        seg_map = patches(rng, *rng.integers(1, 30, 2))
        if i % 3 == 0:
            seg_map = rng.integers(0, 9, seg_map.shape, dtype=np.uint8)
        for ignore_index, ratio in [(255, 0.75), (0, 0.75), (-100, 0.5), (255, 0.2), (3, 0.95)]:
            answers.append(varied_slowly(seg_map, ratio, ignore_index))
            assert is_varied(seg_map, ratio, ignore_index) == answers[-1]
    assert 200 < sum(answers) < len(answers) - 200


@pytest.mark.parametrize('ratio', [0.25, 0.5, 0.75])
def test_a_class_of_exactly_the_maximum_share_is_too_large(ratio):
    seg_map = np.repeat([7, 1, 2, 3], 16).astype(np.uint8).reshape(8, 8)
    seg_map[seg_map == 1] = 7 if ratio >= 0.5 else 1
    seg_map[seg_map == 2] = 7 if ratio >= 0.75 else 2
    assert not is_varied(seg_map, ratio, 255)
    assert is_varied(seg_map, ratio + 0.01, 255)


def test_ignored_labels_alone_are_not_varied():
    for ignore_index in (0, 255):
        assert not is_varied(np.full((9, 9), ignore_index, np.uint8), 0.75, ignore_index)


def test_crop_larger_than_the_image_is_the_image():
    assert sample_crop((7, 5), (9, 9)) == (0, 0, 7, 5)


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (dict(ratio_range=(0, 2)), 'ratio_range'),
        (dict(ratio_range=(2, 1)), 'ratio_range'),
        (dict(scale=(0, 9)), 'scale'),
        (dict(crop_size=0), 'crop_size'),
    ],
)
def test_arguments_out_of_range_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        RandomResizeCropFlip(**options)


@pytest.mark.parametrize('labels', [np.zeros((30, 41), np.uint8), np.zeros((30, 40), np.int64)])
def test_labels_of_another_size_or_type_are_refused(labels):
    with pytest.raises(ValueError, match='gt_seg_map'):
        RandomResizeCropFlip()(dict(sample(0), gt_seg_map=labels))


def test_colours_equal_mmsegs():
    stock = build(dict(type='PhotoMetricDistortion'))
    fast = build(dict(type='FastPhotoMetricDistortion'))
    for seed in range(150):
        img = np.random.default_rng(seed).integers(0, 256, (11, 13, 3), dtype=np.uint8)
        img = img[:, ::-1] if seed % 2 else img
        expected, stock_next = run(stock, dict(img=img), seed)
        got, fast_next = run(fast, dict(img=img), seed)
        assert fast_next == stock_next
        assert np.array_equal(got['img'], expected['img']), seed


def test_grey_files_are_decoded_separately_to_the_same_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(
        datasets, 'read_mask', lambda file, name: calls.append(name) or read(file, name)
    )
    read, calls = read_mask, []
    labels = patches(np.random.default_rng(0), 31, 45)
    grey = Image.fromarray(labels)
    palette = Image.fromarray(labels)
    palette.putpalette([7] * 768)
    for name, image, kwargs in [
        ('grey', grey, {}), ('translucent', grey, dict(transparency=1)), ('palette', palette, {}),
        ('deep', Image.fromarray(labels.astype(np.uint16)), {}),
    ]:  # fmt: skip
        image.save(tmp_path / f'{name}.png', **kwargs)
        path = str(tmp_path / f'{name}.png')
        got = LoadLabelMap()(dict(seg_map_path=path, label_map={1: 9}))['gt_seg_map']
        assert np.array_equal(got, np.where(labels == 1, 9, labels)), name
        assert got.dtype == np.uint8
    assert calls == [str(tmp_path / f'{name}.png') for name in ('palette', 'deep')]
    broken = tmp_path / 'broken.png'
    broken.write_bytes((tmp_path / 'grey.png').read_bytes()[:60])
    with pytest.raises(OSError, match='truncated'):
        LoadLabelMap()(dict(seg_map_path=str(broken)))


def test_the_whole_pipeline_packs_the_same_as_mmsegs(tmp_path):
    init_default_scope('mmseg')
    for i in range(3):
        for folder in ('images', 'labels'):
            (tmp_path / folder).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f'images/{i}.jpg'), smooth_image(60, 80, i))
        cv2.imwrite(str(tmp_path / f'labels/{i}.png'), patches(np.random.default_rng(i), 60, 80))

    def dataset(*steps, pack='PackSegInputs'):
        return BaseSegDataset(
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            metainfo=dict(classes=('a', 'b', 'c', 'd')),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                *steps,
                dict(type=pack),
            ],
        )

    options = dict(scale=(100, 50), ratio_range=(0.5, 2.0), crop_size=(40, 48))
    stock = dataset(*stock_steps(**options), dict(type='PhotoMetricDistortion'))
    colours = dict(type='FastPhotoMetricDistortion')
    ours = dataset(our_step(**options), colours, pack='FastPackSegInputs')
    for seed in range(24):
        expected, stock_next = run(stock.__getitem__, seed % 3, seed)
        got, our_next = run(ours.__getitem__, seed % 3, seed)
        assert our_next == stock_next
        assert got['inputs'].dtype == torch.uint8
        assert (got['inputs'].float() - expected['inputs'].float()).abs().mean() < 1, seed
        mine, theirs = got['data_samples'], expected['data_samples']
        assert torch.equal(mine.gt_sem_seg.data, theirs.gt_sem_seg.data)
        assert mine.metainfo == theirs.metainfo


@pytest.mark.parametrize('shape', [(5, 7, 3), (5, 7), (5, 7, 4), (4, 6, 1), (5, 7, 600), (0, 7, 3)])
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
@pytest.mark.parametrize('is_cropped', [False, True])
def test_packing_gives_the_tensors_of_mmsegs(shape, dtype, is_cropped):
    rng = np.random.default_rng(0)
    img = rng.integers(0, 256, (9, 9, *shape[2:])).astype(dtype)
    img = img[1 : 1 + shape[0], 2 : 2 + shape[1]]
    results = dict(
        img=img if is_cropped else img.copy(), gt_seg_map=rng.integers(0, 9, shape[:2]), flip=True
    )
    before = results['img'].copy()
    keys = ('flip',)
    got = FastPackSegInputs(meta_keys=keys)(dict(results))
    expected = PackSegInputs(meta_keys=keys)(dict(results))
    assert torch.equal(got['inputs'], expected['inputs'])
    assert got['inputs'].dtype == expected['inputs'].dtype
    assert got['inputs'].is_contiguous()
    mine, theirs = got['data_samples'], expected['data_samples']
    assert torch.equal(mine.gt_sem_seg.data, theirs.gt_sem_seg.data)
    assert mine.metainfo == theirs.metainfo == dict(flip=True)
    assert np.array_equal(results['img'], before)


def test_labels_are_packed_without_an_image():
    packed = FastPackSegInputs(meta_keys=())(dict(gt_seg_map=np.ones((2, 3), np.uint8)))
    assert packed['data_samples'].gt_sem_seg.data.tolist() == [[[1, 1, 1]] * 2]
    assert 'inputs' not in packed
