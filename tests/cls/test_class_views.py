"""Crops are those of torchvision and slim, colours within their range, and inputs packed whole."""

import math

import numpy as np
import pytest
import torch
import torchvision
from helpers.resizing import slow_legacy_resize
from mmengine.registry import TRANSFORMS
from PIL import Image

from mbv2_backbone.cls import CentreView, ColourJitter, PackClassInputs, RandomResizedCrop

SIZES = [(70, 100), (100, 70), (64, 64), (33, 97), (31, 200)]
MODES = torchvision.transforms.InterpolationMode


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', SIZES)
def test_the_centre_is_torchvisions(size, interpolation):
    image = photo(*size)
    views = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(37, MODES(interpolation)),
            torchvision.transforms.CenterCrop(32),
        ]
    )
    expected = np.asarray(views(Image.fromarray(image)))
    found = CentreView(size=32, resize=37, interpolation=interpolation)(dict(img=image))
    assert np.array_equal(found['img'], expected)
    assert found['img_shape'] == (32, 32)


@pytest.mark.parametrize('size', SIZES)
def test_the_legacy_centre_is_slims(size):
    """preprocess_for_eval in slim's inception_preprocessing.py: central_crop, then resize."""
    image = photo(*size)
    top, left = (int((side - side * 0.875) / 2) for side in size)
    middle = image[top : size[0] - top, left : size[1] - left]
    found = CentreView(size=28, resize=32, interpolation='legacy')(dict(img=image))['img']
    np.testing.assert_allclose(found, slow_legacy_resize(middle, (28, 28)), atol=5e-3)


def test_the_bare_defaults_are_those_of_the_published_models():
    found = CentreView()(dict(img=photo(300, 400)))
    assert found['img'].shape == (224, 224, 3)


@pytest.mark.parametrize('size', [(60, 80), (10, 300), (300, 10)])
def test_random_crops_have_torchvisions_areas_and_ratios(size):
    crop = RandomResizedCrop(size=16, scale=(0.2, 0.8))
    np.random.seed(0)
    for _ in range(200):
        x1, y1, x2, y2 = crop.sample(*size)
        assert 0 <= x1 < x2 <= size[1]
        assert 0 <= y1 < y2 <= size[0]
        w, h = x2 - x1, y2 - y1
        half = 0.6 / min(w, h)  # pixel, by rounding
        assert 3 / 4 - half <= w / h <= 4 / 3 + half
        if size == (60, 80):
            assert 0.17 < w * h / math.prod(size) < 0.83


def test_a_random_crop_is_that_part_resized_by_pillow():
    crop, image = RandomResizedCrop(size=16), photo(60, 80)
    np.random.seed(1)
    box = crop.sample(60, 80)
    np.random.seed(1)
    found = crop(dict(img=image))['img']
    expected = Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR, box)
    assert np.array_equal(found, np.asarray(expected))


def test_colours_change_within_their_range():
    image = np.full((8, 8, 3), 100, np.uint8)
    np.random.seed(0)
    means = [ColourJitter(strength=0.4)(dict(img=image))['img'].mean() for _ in range(60)]
    assert 59 <= min(means) < 75
    assert 125 < max(means) <= 141
    assert np.array_equal(ColourJitter(strength=0)(dict(img=photo(8, 8)))['img'], photo(8, 8))


def test_inputs_are_packed_with_label_and_meta():
    image = photo(5, 7)
    packed = PackClassInputs()(dict(img=image, img_path='a.jpg', ori_shape=(5, 7), gt_label=3))
    assert torch.equal(packed['inputs'], torch.from_numpy(image).permute(2, 0, 1))
    sample = packed['data_samples']
    assert (sample.gt_label, sample.img_path, sample.ori_shape) == (3, 'a.jpg', (5, 7))
    assert 'gt_label' not in PackClassInputs()(dict(img=image))['data_samples']


@pytest.mark.parametrize(
    'wrong', [dict(size=0), dict(size=300), dict(interpolation='nearest')], ids=str
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match='CentreView needs'):
        TRANSFORMS.build(dict(type='CentreView', **wrong))
