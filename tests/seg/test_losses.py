"""The segmentation loss against torch's and mmseg's."""

import pytest
import torch
from helpers.networks import images
from mmseg.models.losses import CrossEntropyLoss, accuracy
from torch.nn import functional as F

from mbv2_backbone.seg.losses import PixelCrossEntropyLoss, pixel_accuracy, pixel_cross_entropy


def batch(seed=0, size=(3, 5, 8, 7)):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(size[1], (size[0], *size[2:]), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = 255
    return images(*size, seed=seed).mul(2).requires_grad_(), labels


@pytest.mark.parametrize('weights', [None, [0.2, 1.0, 3.0, 0.5, 0.0]])
def test_the_loss_is_torchs_weighted_mean(weights):
    logits, labels = batch()
    weight = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(logits, labels, weight=weight, ignore_index=255)
    found = PixelCrossEntropyLoss(class_weight=weights, loss_weight=2.0)(logits, labels)
    torch.testing.assert_close(found, 2 * expected)
    (a,) = torch.autograd.grad(found, logits)
    (b,) = torch.autograd.grad(2 * expected, logits)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('height', [1, 16, 37])
def test_rows_are_worked_on_in_parts(height, memory_format):
    logits, labels = batch(5, (2, 6, height, 9))
    given = logits.detach().contiguous(memory_format=memory_format).requires_grad_()
    weight = torch.tensor([1.0, 0.3, 2.0, 0.0, 1.5, 1.0])
    pixel_weight = images(2, height, 9, seed=6).abs()
    losses = F.cross_entropy(logits, labels, weight, ignore_index=255, reduction='none')
    weights = (weight[labels.where(labels != 255, 0)] * (labels != 255)) * pixel_weight
    expected = (losses * pixel_weight).sum() / weights.sum()
    found = pixel_cross_entropy(given, labels, class_weight=weight, pixel_weight=pixel_weight)
    torch.testing.assert_close(found, expected)
    (a,) = torch.autograd.grad(3 * found, given)
    (b,) = torch.autograd.grad(3 * expected, logits)
    torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(
            pixel_cross_entropy(given, labels, class_weight=weight, pixel_weight=pixel_weight),
            expected,
        )


def test_ignored_pixels_may_have_any_logits():
    logits, labels = batch(6)
    spoilt = logits.detach().where((labels != 255)[:, None], float('inf'))
    found, expected = (pixel_cross_entropy(x, labels) for x in (spoilt, logits))
    torch.testing.assert_close(found, expected)


def test_half_precision_logits_are_summed_in_float32():
    logits, labels = batch(7, (2, 5, 20, 30))
    half = logits.detach().bfloat16().requires_grad_()
    found, expected = (pixel_cross_entropy(x, labels) for x in (half, half.float()))
    torch.testing.assert_close(found, expected)
    assert torch.autograd.grad(found, half)[0].dtype == torch.bfloat16


def test_the_gradient_is_handed_out_once():
    logits, labels = batch(8)
    loss = pixel_cross_entropy(logits, labels)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match='only once'):
        loss.backward()


def test_the_loss_is_mmsegs_where_that_averages_over_labelled_pixels():
    logits, labels = batch(1)
    expected = CrossEntropyLoss(avg_non_ignore=True)(logits, labels, ignore_index=255)
    torch.testing.assert_close(pixel_cross_entropy(logits, labels), expected)


def test_pixel_weights_select_pixels():
    logits, labels = batch(2)
    chosen = torch.rand(labels.shape) < 0.5
    expected = F.cross_entropy(logits, labels.where(chosen, 255), ignore_index=255)
    found = pixel_cross_entropy(logits, labels, pixel_weight=chosen.float())
    torch.testing.assert_close(found, expected)


def test_a_batch_without_labels_has_no_loss_and_no_gradient():
    logits, labels = batch(3)
    loss = pixel_cross_entropy(logits, torch.full_like(labels, 255))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0
    assert pixel_accuracy(logits, torch.full_like(labels, 255)).tolist() == [0]


@pytest.mark.parametrize('ignore_index', [255, 1])
def test_accuracy_is_mmsegs(ignore_index):
    logits, labels = batch(4)
    if ignore_index == 1:
        labels = labels.where(labels != 255, 1)
    expected = accuracy(logits, labels, ignore_index=ignore_index)
    found = pixel_accuracy(logits, labels, ignore_index=ignore_index)
    torch.testing.assert_close(found, expected)
