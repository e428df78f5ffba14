"""SSDLiteHead against mmdet's SSDHead, with the same weights and batches."""

import math

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


def sigmoid_head():
    return randomise(SSDLiteHead(**head_config(ignore_iof_thr=0.3), use_sigmoid=True))


@pytest.mark.parametrize('num_images', [1, 4])
def test_sigmoid_losses_against_a_loop_over_the_matches(num_images):
    head = sigmoid_head()
    samples = random_batch(num_images, seed=2)
    cls_scores, bbox_preds = head(features(num_images, 2))
    seen, build = [], head._build_targets
    head._build_targets = lambda *args, **kw: seen.append(build(*args, **kw)) or seen[-1]
    got = head.loss_by_feat(cls_scores, bbox_preds, *truth_of(samples))
    ((labels, _, weights),) = seen
    logits, _ = head.flatten_outputs(cls_scores, bbox_preds)
    assert logits.shape[-1] == head.num_classes == head.cls_out_channels
    total, count = 0.0, 0
    for i in range(num_images):
        losses = {}
        for p, label in enumerate(labels[i].tolist()):
            scores = logits[i, p].double().sigmoid().tolist()
            terms = [-math.log(s if c == label else 1 - s) for c, s in enumerate(scores)]
            losses[p] = sum(terms) * weights[i, p].item()
        positive = [p for p in losses if labels[i, p] < head.num_classes]
        hardest = sorted((losses[p] for p in losses if p not in positive), reverse=True)
        total += sum(losses[p] for p in positive) + sum(hardest[: 3 * len(positive)])
        count += max(1, len(positive))
    assert got['loss_cls'].item() == pytest.approx(total / count, rel=1e-5)


def test_sigmoids_change_nothing_of_the_boxes_loss():
    plain = SSDLiteHead(**head_config())
    head = sigmoid_head()
    plain.load_state_dict(
        {k: v for k, v in head.state_dict().items() if 'cls_convs' not in k}, strict=False
    )
    x, samples = features(3, 1), random_batch(3, seed=1, crowds=False)
    a, b = total(head.loss(x, samples)), total(plain.loss(x, samples))
    torch.testing.assert_close(a['loss_bbox'], b['loss_bbox'])
    assert not torch.allclose(a['loss_cls'], b['loss_cls'])


def test_sigmoid_heads_take_images_without_boxes():
    head = sigmoid_head()
    samples = [random_batch(3, seed=0)[2] for _ in range(2)]
    losses = head.loss(features(2, 0), samples)
    assert total(losses) == dict(loss_cls=0, loss_bbox=0)  # no positives, so no negatives
    sum(total(losses).values()).backward()
    outs = [torch.full_like(scores, -20) for scores in head(features(2, 0))[0]]
    deltas = [torch.zeros(2, 4 * n, *out.shape[2:]) for n, out in zip(
        head.num_base_priors, outs, strict=True)]  # fmt: skip
    found = head.predict_by_feat(outs, deltas, batch_img_metas=truth_of(samples)[1])
    assert [len(result) for result in found] == [0, 0]


def test_scores_are_softmaxes_without_the_background_or_sigmoids():
    logits = torch.randn(2, 7, 6)
    plain = SSDLiteHead(**head_config())
    exponentials = logits.exp()
    expected = exponentials[..., :5] / exponentials.sum(-1, keepdim=True)
    torch.testing.assert_close(plain.scores(logits), expected)
    torch.testing.assert_close(sigmoid_head().scores(logits), 1 / (1 + (-logits).exp()))
    assert plain.scores(logits[:, :0]).shape == (2, 0, 5)


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
    assert SSDLiteHead(use_sigmoid=True).cls_convs[0][1].out_channels == 3 * 80
