"""The classifier has the paper's size at every width, and its modes agree with slow references."""

import numpy as np
import pytest
import torch
from helpers.networks import images, num_params, randomise
from mmengine.analysis import FlopAnalyzer
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

from mbv2_backbone.cls import ClassifierHead, ImageClassifier
from mbv2_backbone.cls.classifier import mix
from mbv2_backbone.workbench.drawing.painter import likeliest


def classifier(width=0.35, **kwargs):
    backbone = dict(type='MobileNetV2Backbone', widen_factor=width, out_indices='conv2')
    channels = MODELS.build(backbone).feature_info[0].channels
    head = dict(type='ClassifierHead', in_channels=channels, num_classes=kwargs.pop('classes', 5))
    return ImageClassifier(backbone=backbone, head=head, **kwargs)


def labelled(*labels):
    return [BaseDataElement(gt_label=torch.tensor(label)) for label in labels]


def test_the_defaults_have_the_papers_size():
    model = ImageClassifier().eval()
    assert num_params(model) == 3_504_872
    counted = FlopAnalyzer(model, (images(1, 3, 224, 224),))
    work = counted.by_operator()
    assert round(counted.total() / 1e9, 3) == 0.314  # with the batch norms, as fvcore counts
    assert round((work['conv'] + work['linear']) / 1e9, 2) == 0.30  # paper, table 4


@pytest.mark.parametrize(
    ('width', 'millions'),
    [(0.35, 1.66), (0.5, 1.95), (0.75, 2.61), (1.0, 3.47), (1.3, 5.34), (1.4, 6.06)],
)
@pytest.mark.parametrize('outputs', [1000, 1001])
def test_each_width_has_the_parameters_that_slim_states(width, millions, outputs):
    """Slim's table leaves out all of the batch norms; with 1,001 outputs it rounds to the same."""
    model = classifier(width, classes=outputs)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert round((num_params(model) - num_params(*norms)) / 1e6, 2) == millions


@pytest.mark.parametrize(('width', 'channels'), [(0.35, 1280), (1.0, 1280), (1.4, 1792)])
def test_the_last_channels_do_not_shrink_below_width_1(width, channels):
    """Section 6.1 of the paper: the multiplier goes to all layers but the last convolution."""
    assert classifier(width).head.fc.in_features == channels


def test_the_modes_agree_with_the_layers_written_out():
    model = randomise(classifier()).eval()
    x = images(3, 3, 64, 64)
    with torch.no_grad():
        pooled = torch.stack([image.flatten(1).sum(1) / 4 for image in model.backbone(x)[0]])
        logits = pooled @ model.head.fc.weight.T + model.head.fc.bias
        torch.testing.assert_close(model(x), logits)
        samples = labelled(4, 0, 1)
        assert model(x, samples, mode='predict') == samples
        unlabelled = model(x, mode='predict')
    for sample, other, row in zip(samples, unlabelled, logits, strict=True):
        expected = row.exp() / row.exp().sum()
        torch.testing.assert_close(sample.pred_scores, expected)
        torch.testing.assert_close(other.pred_scores, expected)
        assert sample.pred_label == max(range(5), key=expected.tolist().__getitem__)


def test_scores_are_float32_where_the_network_computes_in_bfloat16():
    model = randomise(classifier()).eval()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert model(images(1, 3, 32, 32)).dtype == torch.bfloat16
        (sample,) = model(images(1, 3, 32, 32), mode='predict')
    assert sample.pred_scores.dtype == torch.float32
    assert len(likeliest(sample)) == 5
    torch.testing.assert_close(sample.pred_scores.sum(), torch.tensor(1.0))


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_written_out(smoothing):
    head = ClassifierHead(
        in_channels=4, num_classes=3, label_smoothing=smoothing, dropout_ratio=0.0
    )
    feats, targets = (images(2, 4, 5, 5),), torch.tensor([2, 0])
    expected = 0.0
    for row, target in zip(head(feats), targets.tolist(), strict=True):
        probabilities = row.exp() / row.exp().sum()
        for c in range(3):
            wanted = (1 - smoothing) * (c == target) + smoothing / 3
            expected -= wanted * probabilities[c].log() / 2
    torch.testing.assert_close(head.loss(feats, targets)['loss_cls'], expected)
    shares = torch.eye(3)[targets]
    torch.testing.assert_close(head.loss(feats, shares)['loss_cls'], expected)


def test_mixup_mixes_images_and_targets_with_the_same_partner():
    torch.manual_seed(0)
    inputs = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    mixed, shares = mix(inputs, torch.eye(4), 0.75)
    for i, (image, share) in enumerate(zip(mixed, shares, strict=True)):
        assert share.sum() == 1
        assert share[i] >= 0.75
        torch.testing.assert_close(image, torch.full_like(image, float(share @ torch.arange(4.0))))
    assert not torch.equal(mixed, inputs)


def test_mixup_trains_on_what_the_beta_distribution_says(monkeypatch):
    model = classifier(mixup_alpha=0.2).train()
    asked = []
    monkeypatch.setattr(np.random, 'beta', lambda *args: asked.append(args) or 1.0)
    x, samples = images(4, 3, 32, 32), labelled(0, 1, 2, 3)
    torch.manual_seed(0)
    loss = model(x, samples, mode='loss')['loss_cls']
    torch.manual_seed(0)
    torch.randperm(4)
    model.mixup_alpha = 0
    torch.testing.assert_close(loss, model(x, samples, mode='loss')['loss_cls'])
    assert asked == [(0.2, 0.2)]


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: ClassifierHead(num_classes=0), 'num_classes of 1 or more'),
        (lambda: ClassifierHead(label_smoothing=1.5), 'label_smoothing within'),
        (lambda: ImageClassifier(mixup_alpha=-1), 'mixup_alpha must be'),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
