"""Pretrained backbones from TensorFlow Lite detectors."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.networks import randomise
from helpers.paths import ROOT
from helpers.tflite import model_of, other_model, pack
from measure.recipes.pretrained import (
    make_weights,
    normalised,
    renormalise,
    write_weights,
)
from measure.recipes.tflite import read_model
from mmengine.registry import DefaultScope
from PIL import Image
from torch.nn import functional

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights import load_into
from mbv2_backbone.weights.preprocessing import IMAGENET, MINUS_ONE_TO_ONE
from mbv2_backbone.weights.tflite_files import variables_of

NORM = dict(type='BN', eps=1e-3)


def narrow_backbone():
    return MobileNetV2Backbone(widen_factor=0.25, out_indices=('layer3', 'conv2'), norm_cfg=NORM)


@pytest.fixture
def trained():
    return randomise(narrow_backbone()).eval()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f'{index}.png')
    return folder


def assert_same_maps(backbone, other, x, rtol=1e-4):
    with torch.no_grad():
        for ours, theirs in zip(backbone(x), other(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol * theirs.abs().max())


def unfold(model, backbone):
    """Fill a backbone that pads symmetrically, which TensorFlow's did not."""
    with pytest.warns(UserWarning, match="padding='same'"):
        load_into(backbone, variables_of(model, 'model'))


def test_renormalised_convolution_sees_the_same_image():
    backbone = MobileNetV2Backbone(out_indices=('conv1',), norm_cfg=NORM).eval()
    backbone.conv1.norm.running_var.fill_(1 - backbone.conv1.norm.eps)  # folded
    image = torch.randint(0, 256, (20, 30, 3), dtype=torch.uint8)
    with torch.no_grad():
        (expected,) = backbone(normalised(image, MINUS_ONE_TO_ONE))
        renormalise(backbone, MINUS_ONE_TO_ONE, IMAGENET)
        (found,) = backbone(normalised(image, IMAGENET))
    inside = slice(None), slice(None), slice(1, -1), slice(1, -1)
    torch.testing.assert_close(found[inside], expected[inside], rtol=1e-4, atol=1e-4)


def test_weights_load_into_ours_and_into_mmdets(tmp_path, images):
    from mmdet.models import MobileNetV2

    whole = randomise(MobileNetV2Backbone(out_indices=('conv2',), norm_cfg=NORM))
    package = pack(model_of(whole, half=True), tmp_path / 'objectron.tgz')
    out = tmp_path / 'new' / 'weights.pth'
    command = [sys.executable, ROOT / 'tools' / 'accuracy.py', 'weights', package]
    subprocess.run([*command, '--images', images, '--out', out], check=True, cwd=tmp_path)

    init = dict(type='Pretrained', checkpoint=str(out))
    DefaultScope.get_instance('weights', scope_name='mmdet')
    ours = MobileNetV2Backbone(out_indices=('layer5', 'layer7'), norm_cfg=NORM, init_cfg=init)
    theirs = MobileNetV2(out_indices=(4, 6), norm_cfg=NORM, init_cfg=init)
    for backbone in (ours, theirs):
        backbone.init_weights()
        backbone.eval()
    assert_same_maps(ours, theirs, torch.randn(1, 3, 64, 64), rtol=1e-5)
    stored = torch.load(out)['state_dict']
    torch.testing.assert_close(ours.state_dict()['conv1.conv.weight'], stored['conv1.conv.weight'])


def test_statistics_are_those_of_the_images(images):
    backbone = MobileNetV2Backbone(out_indices=('conv2',), norm_cfg=NORM)
    variables = variables_of(model_of(randomise(backbone)), 'model')
    pixels = [torch.from_numpy(np.array(Image.open(path))) for path in sorted(images.iterdir())]
    stored = make_weights(variables, pixels)['state_dict']
    first = stored['conv1.conv.weight']
    batch = torch.cat([normalised(image) for image in pixels])
    maps = functional.conv2d(batch, first, stride=2, padding=1)
    mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3), correction=0)
    torch.testing.assert_close(stored['conv1.bn.running_mean'], mean, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(stored['conv1.bn.running_var'], variance, rtol=1e-3, atol=1e-4)


def test_refused_with_what_to_do(tmp_path, images, trained):
    with pytest.raises(UserError, match='cannot be read'):
        read_model(tmp_path / 'missing.tflite')
    (tmp_path / 'other.tflite').write_bytes(b'not a model')
    with pytest.raises(UserError, match='not a TensorFlow Lite model'):
        read_model(tmp_path / 'other.tflite')
    (tmp_path / 'broken.tgz').write_bytes(b'no archive')
    with pytest.raises(UserError, match='cannot be read'):
        read_model(tmp_path / 'broken.tgz')
    other = tmp_path / 'other-network.tflite'
    other.write_bytes(other_model())
    with pytest.raises(UserError, match='no MobileNetV2'):
        write_weights(other, images, tmp_path / 'out.pth')
    narrow = tmp_path / 'narrow.tflite'
    narrow.write_bytes(model_of(trained))
    with pytest.raises(UserError, match=r'width 0\.25'):
        write_weights(narrow, images, tmp_path / 'out.pth')
    with pytest.raises(UserError, match='no images'):
        write_weights(narrow, tmp_path / 'nowhere', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()
