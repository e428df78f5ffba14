"""Convolutions of TensorFlow Lite models come back as the variables that they were made of."""

import numpy as np
import pytest
import torch
from helpers.networks import randomise
from helpers.tflite import PREDICTOR, Writer, model_of, other_model

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.weights import load_into
from mbv2_backbone.weights.checkpoint_files import read_checkpoint

NORM = dict(type='BN', eps=1e-3)


def build(**options):
    taps = ('layer3', 'conv2')
    settings = dict(widen_factor=0.25, padding='same', out_indices=taps, norm_cfg=NORM)
    return MobileNetV2Backbone(**settings | options).eval()


@pytest.fixture
def trained():
    return randomise(build()).eval()


@pytest.fixture
def write(tmp_path):
    def write(model, name='model.tflite'):
        (tmp_path / name).write_bytes(model)
        return tmp_path / name

    return write


def test_a_backbone_computes_what_its_folded_form_was_made_of(trained, write):
    backbone = build()
    report = load_into(backbone, write(model_of(trained)))
    assert (report.layout, report.widen_factor) == ('tensorflow', 0.25)
    x = torch.randn(2, 3, 65, 96)
    with torch.no_grad():
        for found, expected in zip(backbone(x), trained(x), strict=True):
            scale = expected.abs().max()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * scale)


def test_norms_do_nothing_but_add_the_bias(trained, write):
    backbone = build()
    load_into(backbone, write(model_of(trained)))
    norm = backbone.layer2[0].expand_conv.norm
    x = torch.randn(1, norm.num_features, 2, 2)
    expected = x + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, rtol=1e-6, atol=1e-6)


def test_half_precision_is_read_as_it_was_rounded(trained, write):
    single, half = (read_checkpoint(write(model_of(trained, half=half))) for half in (False, True))
    assert single.keys() == half.keys()
    for name, value in single.items():
        if name.endswith(('weights', 'beta')):
            torch.testing.assert_close(half[name], value.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize('depthwise', [False, True])
@pytest.mark.parametrize('bias', [None, np.zeros(0)], ids=['left out', 'optional'])
def test_a_convolution_without_a_bias_adds_nothing(depthwise, bias, write):
    writer = Writer(half=False)
    weight = PREDICTOR[0].reshape(1, 1, 1, -1) if depthwise else PREDICTOR[0]
    writer.convolution('MobilenetV2/expanded_conv/project/Conv2D', weight, bias, depthwise)
    found = read_checkpoint(write(writer.finish()))
    beta = found['MobilenetV2/expanded_conv/project/BatchNorm/beta']
    assert torch.equal(beta, torch.zeros(192 if depthwise else 24))


def test_integers_and_damaged_files_are_refused(trained, write):
    whole = model_of(trained, kind=np.int8)
    with pytest.raises(ValueError, match=r'quantised: .*MobilenetV2/Conv.* holds integers'):
        read_checkpoint(write(whole))
    with pytest.raises(ValueError, match='truncated or damaged'):
        read_checkpoint(write(model_of(trained)[:200]))
    with pytest.raises(ValueError, match='no MobileNetV2 of a known layout'):
        load_into(build(), write(other_model()))
