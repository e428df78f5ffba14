"""Batch norms that were folded in, made fit for training."""

import pytest
import torch
from helpers.networks import randomise
from helpers.tflite import model_of

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.weights import load_into
from mbv2_backbone.weights.folded_norms import calibrate, folded_norms
from mbv2_backbone.weights.tflite_files import variables_of

NORM = dict(type='BN', eps=1e-3)


def narrow_backbone():
    return MobileNetV2Backbone(
        widen_factor=0.25, out_indices=('layer3', 'conv2'), norm_cfg=NORM, padding='same'
    )


def unfolded(trained):
    backbone = narrow_backbone().eval()
    report = load_into(backbone, variables_of(model_of(trained), 'model'))
    assert any('folded' in note for note in report.notes)
    return backbone


def run(backbone, batches):
    def pass_through():
        for batch in batches:
            backbone(batch)

    return pass_through


def assert_same_maps(backbone, other, x, rtol=1e-4):
    with torch.no_grad():
        for ours, theirs in zip(backbone(x), other(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol * theirs.abs().max())


def test_calibrated_norms_leave_outputs_and_agree_with_the_batch():
    trained = randomise(narrow_backbone()).eval()
    x = torch.randn(8, 3, 64, 96)
    before = unfolded(trained).train()
    with torch.no_grad():
        apart = (before(x)[0] - trained(x)[0]).abs().mean()
        assert apart > 0.1 * trained(x)[0].abs().mean()
    backbone = unfolded(trained)
    norms = folded_norms(backbone)
    assert len(norms) == 52
    calibrate(norms, run(backbone, [x[:5], x[5:]]))
    assert not folded_norms(backbone)
    assert_same_maps(backbone, trained, torch.randn(2, 3, 64, 96))
    backbone.train()  # and normalising by these images' own statistics changes nothing
    assert_same_maps(backbone, trained, x, rtol=2e-3)


def test_several_processes_share_their_statistics():
    trained = randomise(narrow_backbone()).eval()
    x = torch.randn(6, 3, 64, 64)
    whole, first, second = (unfolded(trained) for _ in range(3))
    calibrate(folded_norms(whole), run(whole, [x]))
    theirs = []
    calibrate(folded_norms(second), run(second, [x[2:]]), reduce=lambda t: theirs.append(t.clone()))
    share = iter(theirs)
    calibrate(folded_norms(first), run(first, [x[:2]]), reduce=lambda t: t.add_(next(share)))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(first.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('kind', ['fresh', 'trained'])
def test_other_norms_are_not_folded(kind):
    backbone = narrow_backbone()
    if kind == 'trained':
        randomise(backbone)
    assert folded_norms(backbone) == []


def test_nothing_changes_without_images_or_after_an_error():
    backbone = unfolded(randomise(narrow_backbone()))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}

    def broken():
        backbone(torch.randn(1, 3, 32, 32))
        raise OSError('image 2 is gone')

    with pytest.raises(OSError, match='image 2'):
        calibrate(folded_norms(backbone), broken)
    calibrate(folded_norms(backbone), lambda: None)
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    assert not any(norm._forward_pre_hooks for norm in folded_norms(backbone))
