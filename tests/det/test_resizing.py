"""TensorFlow 1's bilinear rule in a pipeline, against a loop over the pixels."""

import numpy as np
import pytest
import torch
from helpers.det import build, sample
from helpers.resizing import slow_legacy_resize
from mmdet.structures.bbox import HorizontalBoxes

SCALE = (48, 32)  # width, height


@pytest.mark.parametrize('seed', range(6))
def test_the_image_and_its_boxes_are_resized(seed):
    before = sample(seed)
    image, boxes = before['img'].copy(), before['gt_bboxes'].tensor.clone()
    height, width = image.shape[:2]
    after = build(dict(type='LegacyResize', scale=SCALE))(before)
    assert after['img'].dtype == np.float32
    np.testing.assert_allclose(after['img'], slow_legacy_resize(image, (32, 48)), atol=1e-3)
    assert after['img_shape'] == (32, 48)
    assert after['scale_factor'] == pytest.approx((48 / width, 32 / height))
    assert after['keep_ratio'] is False
    factors = torch.tensor([48 / width, 32 / height] * 2)
    expected = boxes * factors
    expected[:, 0::2].clamp_(0, 48)
    expected[:, 1::2].clamp_(0, 32)
    torch.testing.assert_close(after['gt_bboxes'].tensor, expected)


def test_it_takes_the_steps_around_it_as_mmdets_does():
    """The packed results have the shapes and factors of mmdet's `Resize`, without boxes too."""
    keys = ('ori_shape', 'img_shape', 'scale_factor')
    packed = []
    for kind in ('Resize', 'LegacyResize'):
        results = sample(0) | dict(
            ori_shape=(30, 40), gt_bboxes=HorizontalBoxes(torch.zeros(0, 4)),
            gt_bboxes_labels=np.zeros(0, int), gt_ignore_flags=np.zeros(0, bool),
        )  # fmt: skip
        pack = dict(type='PackDetInputs', meta_keys=keys)
        packed.append(build(dict(type=kind, scale=SCALE), pack)(results))
    stock, ours = packed
    assert ours['data_samples'].metainfo == stock['data_samples'].metainfo
    assert ours['inputs'].shape == stock['inputs'].shape
    assert (stock['inputs'].dtype, ours['inputs'].dtype) == (torch.uint8, torch.float32)
    assert ours['data_samples'].gt_instances.bboxes.shape == (0, 4)


def test_the_size_has_to_be_given():
    with pytest.raises(TypeError):
        build(dict(type='LegacyResize', scale_factor=0.5))
