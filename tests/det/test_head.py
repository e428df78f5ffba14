"""SSDLiteHead against mmdet's SSDHead, with the same weights and batches."""

import mmdet.models.dense_heads as mmdet_heads
import pytest
import torch
from helpers.networks import randomise
from helpers.ssdlite import features, head_config, random_batch, truth_of
from mmengine.structures import InstanceData

from mbv2_backbone.det import SSDLiteHead


def pair(**assigner):
    """Return our head and theirs with equal weights; theirs gets the attribute it lacks."""
    theirs = mmdet_heads.SSDHead(**head_config(**assigner))
    theirs.loss_cls = None
    theirs._raw_positive_infos = {}
    ours = SSDLiteHead(**head_config(**assigner))
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def total(losses):
    return {k: sum(x.sum() for x in v) if isinstance(v, list) else v for k, v in losses.items()}


VARIANTS = {
    'as in the configs': {},
    'all that tie': dict(gt_max_assign_all=True),
    'a gap between the thresholds': dict(neg_iou_thr=0.3),
    'a range of negatives': dict(neg_iou_thr=(0.1, 0.4)),
    'no weak best': dict(min_pos_iou=0.4),
    'crowds excluded': dict(ignore_iof_thr=0.3),
}


@pytest.mark.parametrize('assigner', VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize('num_images', [1, 2, 3, 8])
def test_losses_and_gradients_equal_mmdets(num_images, assigner):
    ours, theirs = pair(**assigner)
    for seed in range(3):
        samples = random_batch(num_images, seed=seed)
        x = features(num_images, seed)
        got, expected = total(ours.loss(x, samples)), total(theirs.loss(x, samples))
        for key in ('loss_cls', 'loss_bbox'):
            torch.testing.assert_close(got[key], expected[key], rtol=1e-5, atol=1e-5)
        sum(got.values()).backward()
        sum(expected.values()).backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_a_batch_of_empty_images_equals_mmdets():
    ours, theirs = pair()
    samples = [random_batch(3, seed=0)[2] for _ in range(4)]
    assert not any(len(sample.gt_instances) for sample in samples)
    x = features(4, 0)
    got, expected = total(ours.loss(x, samples)), total(theirs.loss(x, samples))
    for key, value in got.items():
        torch.testing.assert_close(value, expected[key])
    sum(got.values()).backward()  # a loss of 0 must still reach the optimizer


def test_padded_images_equal_mmdets():
    shapes = [(128, 128), (96, 128), (128, 70), (33, 40)]
    ours, theirs = pair()
    samples = random_batch(4, seed=5, pad_shapes=shapes)
    x = features(4, 5)
    got, expected = total(ours.loss(x, samples)), total(theirs.loss(x, samples))
    for key, value in got.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('num_images', [1, 4])
def test_detections_equal_mmdets(num_images, rescale):
    ours, theirs = (head.eval() for head in pair())
    samples = random_batch(num_images, seed=3)
    x = features(num_images, 3)
    found = ours.predict(x, samples, rescale=rescale)
    expected = theirs.predict(x, samples, rescale=rescale)
    assert sum(len(f) for f in found) > 10 * num_images
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.scores, b.scores, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(a.bboxes, b.bboxes, rtol=1e-4, atol=1e-3)
        assert torch.equal(a.labels, b.labels)


def test_no_score_above_the_threshold_gives_empty_results():
    head = pair()[0].eval()
    head.test_cfg.score_thr = 1.1
    for found in head.predict(features(2, 0), random_batch(2, seed=0)):
        assert (len(found), found.bboxes.shape, found.labels.dtype) == (0, (0, 4), torch.long)


def test_invalid_boxes_are_left_out_of_the_loss():
    head = pair()[0]
    x = features(2, 0)
    samples = random_batch(2, seed=0)
    expected = total(head.loss(x, samples))
    bad = torch.tensor([
        [10.0, 10, 10, 30], [30, 30, 10, 10], [float('nan'), 0, 9, 9], [0, 0, float('inf'), 9],
    ])  # fmt: skip
    for sample in samples:
        gt = sample.gt_instances
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([bad, gt.bboxes]),
            labels=torch.cat([torch.zeros(4, dtype=torch.long), gt.labels]),
        )
    got = total(head.loss(x, samples))
    for key, value in got.items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_loss_is_float32_whatever_the_features(dtype):
    head = pair()[0]
    x = features(2, 0)
    outs = head(x)
    half = [[o.to(dtype) for o in level] for level in outs]
    samples = random_batch(2, seed=0)
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss_by_feat(*half, *truth_of(samples))
    exact = head.loss_by_feat(*outs, *truth_of(samples))
    for key, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[key], rtol=0.05, atol=0.05)


def test_loss_and_predict_gives_both():
    head = pair()[0].eval()
    x, samples = features(2, 0), random_batch(2, seed=0)
    losses, predictions = head.loss_and_predict(x, samples)
    assert losses == head.loss(x, samples)
    for a, b in zip(predictions, head.predict(x, samples), strict=True):
        assert torch.equal(a.bboxes, b.bboxes)


@pytest.mark.parametrize(
    ('kwargs', 'said'),
    [
        (dict(in_channels=(8, 8)), '6 levels'),
        (dict(use_depthwise=False), 'SSDHead'),
        (dict(num_classes=0), '1 or more'),
        (dict(train_cfg=dict(assigner=dict(type='ATSSAssigner'))), 'MaxIoUAssigner'),
    ],
)
def test_wrong_arguments_are_refused(kwargs, said):
    with pytest.raises(ValueError, match=said):
        SSDLiteHead(**kwargs)


def test_bare_defaults_build_and_the_first_map_has_three_priors():
    head = SSDLiteHead()
    assert head.cls_convs[0][1].out_channels == 3 * 81
    assert head.reg_convs[1][1].out_channels == 6 * 4
