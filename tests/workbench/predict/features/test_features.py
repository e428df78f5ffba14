"""Activation heatmaps: the maths against loops, and a model whose answer is known."""

import numpy as np
import pytest
import torch
from helpers.deploy import DETECTION, JOINT, SEGMENTATION, THREE, random_images, write_config
from helpers.networks import randomise
from helpers.paths import ROOT
from mmengine.registry import MODELS
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.predict.features.activation import (
    box_scores,
    class_activation,
    mask_scores,
    mean_activation,
    scaled_to_one,
    strongest_channels,
)
from mbv2_backbone.workbench.predict.features.inspector import FeatureInspector
from mbv2_backbone.workbench.predict.predict import predict

SQUARE = 1  # the label of the sample dataset's second class
BASES = {
    'det': ('ssdlite_mbv2_sample', DETECTION),
    'seg': ('deeplabv3_mbv2_sample', SEGMENTATION),
    'joint': ('ssdlite-deeplabv3_mbv2_sample', JOINT),
    'three': ('ssdlite-deeplabv3-classifier_mbv2_sample', THREE),
}


@pytest.fixture(scope='module', params=BASES)
def model(request, sample_dataset, tmp_path_factory):
    base, text = BASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, *write_config(folder, text, base, sample_dataset)


def test_class_activation_equals_loops():
    rng = np.random.default_rng(0)
    activations, gradients = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    expected = np.zeros((3, 4), np.float32)
    for y in range(3):
        for x in range(4):
            total = sum(activations[c, y, x] * gradients[c, y, x] for c in range(5))
            expected[y, x] = max(0.0, total)
    assert 0 < (expected == 0).sum() < 12
    got = class_activation(torch.from_numpy(activations), torch.from_numpy(gradients))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)
    assert not class_activation(torch.rand(5, 3, 4), torch.zeros(5, 3, 4)).any()


def test_channels_and_their_mean_equal_loops():
    values = np.random.default_rng(1).normal(size=(6, 3, 4)).astype(np.float32)
    strength = [float(np.abs(channel).mean()) for channel in values]
    order = sorted(range(6), key=lambda channel: -strength[channel])
    assert strongest_channels(torch.from_numpy(values), 4).tolist() == order[:4]
    assert strongest_channels(torch.from_numpy(values), 100).tolist() == order
    mean = mean_activation(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(mean, np.abs(values).mean(0), rtol=1e-6)


def test_maps_share_one_scale():
    maps = scaled_to_one([torch.tensor([[1.0, 2.0]]), torch.tensor([[8.0], [0.0]])])
    assert [values.tolist() for values in maps] == [[[0.125, 0.25]], [[1.0], [0.0]]]
    assert not scaled_to_one([torch.zeros(2, 2)])[0].any()


def test_mask_scores_sum_the_logits_of_the_assigned_pixels():
    logits = torch.randn(1, 4, 5, 6)
    got = mask_scores(logits, image_share=(4 / 5, 0.5))
    sums, areas = [0.0] * 4, [0] * 4
    for y in range(4):
        for x in range(3):
            best = max(range(4), key=lambda label: float(logits[0, label, y, x]))
            sums[best] += float(logits[0, best, y, x])
            areas[best] += 1
    assert list(got) == sorted((i for i in range(4) if areas[i]), key=lambda i: -areas[i])
    for label, score in got.items():
        assert float(score) == pytest.approx(sums[label], rel=1e-5)


@pytest.mark.parametrize('use_sigmoid', [False, True])
def test_box_scores_are_of_the_boxes_that_the_head_keeps(sample_dataset, tmp_path, use_sigmoid):
    config, _, options = write_config(tmp_path, DETECTION, 'ssdlite_mbv2_sample', sample_dataset)
    options = [*options, f'model.bbox_head.use_sigmoid={use_sigmoid}']
    head = randomise(MODELS.build(load_config(config, options).model).bbox_head.eval())
    feats = tuple(
        torch.rand(1, channels, side, side)
        for channels, side in zip(head.in_channels, (16, 8, 4, 2, 1), strict=True)
    )
    with torch.no_grad():
        scores, codes = head(feats)
    meta = dict(img_shape=(128, 100), batch_input_shape=(128, 128))
    found = head.predict_by_feat(scores, codes, batch_img_metas=[meta])[0]
    found = found[found.scores > 0.4]
    sizes = [tuple(x.shape[2:]) for x in scores]
    priors = torch.cat(head.prior_generator.grid_priors(sizes, input_size=(128, 128), device='cpu'))
    logits = torch.cat([x.permute(0, 2, 3, 1).reshape(-1, 4 if use_sigmoid else 5) for x in scores])
    flat_codes = torch.cat([x.permute(0, 2, 3, 1).reshape(-1, 4) for x in codes])
    boxes = head.bbox_coder.decode(priors, flat_codes, max_shape=(128, 100))
    expected = dict.fromkeys(found.labels.tolist(), 0.0)
    for box, label in zip(found.bboxes, found.labels.tolist(), strict=True):
        prior = int((boxes - box).abs().sum(1).argmin())
        expected[label] += float(logits[prior, label])
    assert len(found) > len(expected) > 1
    got = box_scores(head, feats, meta, score_thr=0.4)
    assert list(got) == list(expected)
    for label, score in got.items():
        assert score.item() == pytest.approx(expected[label], rel=1e-4)
    assert box_scores(head, feats, meta, score_thr=1.01) == {}


@pytest.fixture(scope='module')
def bright_squares(tmp_path_factory):
    """A detector with fixed weights: bright is a square, dark is background."""
    cfg = load_config(str(ROOT / 'configs/ssdlite_mbv2_sample.py'))
    cfg.model.backbone.out_indices = ('conv1',)
    cfg.model.neck = None
    cfg.model.bbox_head.in_channels = (16,)
    cfg.model.bbox_head.anchor_generator.shapes = [[(0.3, 0.3)]]
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            torch.nn.init.zeros_(parameter)
    brightness = model.backbone.conv1.conv.weight
    torch.nn.init.constant_(brightness[0], 1 / 27)
    (predictor,) = model.bbox_head.cls_convs
    torch.nn.init.ones_(predictor[0].conv.weight[:, :, 1, 1])
    torch.nn.init.constant_(predictor[1].weight[SQUARE, 0], 10)
    torch.nn.init.constant_(predictor[1].bias[-1], 3)
    path = tmp_path_factory.mktemp('squares') / 'squares.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return cfg, str(path)


def test_the_map_of_a_class_lies_on_its_object(bright_squares):
    image = np.zeros((64, 96, 3), np.uint8)
    image[16:40, 24:60] = 255
    (found,) = FeatureInspector(*bright_squares, score_thr=0.3)(image).classes
    assert (found.field, found.label) == ('pred_instances', SQUARE)
    (values,) = found.maps.values()
    assert values.shape == (64, 64)
    assert values.max() == 1
    assert float(values[15:41, 15:41].sum() / values.sum()) > 0.99  # with a border of one pixel


def test_an_image_without_any_class(bright_squares):
    image = np.zeros((64, 96, 3), np.uint8)
    assert FeatureInspector(*bright_squares, score_thr=0.3)(image).classes == []


def test_taps_equal_those_of_the_backbone(model):
    task, config, checkpoint, options = model
    inspector = FeatureInspector(load_config(config, options), checkpoint, score_thr=0.3)
    (image,) = random_images(1, (96, 120))
    inspection = inspector(image)
    sizes = [tuple(tap.shape) for tap in inspection.taps]
    high, wide = inspection.input_hw
    assert sizes == [
        (info.channels, -(-high // info.stride), -(-wide // info.stride))
        for info in inspector.model.backbone.feature_info
    ]
    fields = {found.field for found in inspection.classes}
    assert fields <= {'pred_instances', 'pred_sem_seg', 'pred_scores'}
    assert ('pred_sem_seg' in fields) == (task != 'det')
    assert ('pred_scores' in fields) == (task == 'three')
    for found in inspection.classes:
        assert max(float(values.max()) for values in found.maps.values()) == pytest.approx(1)
        if task in ('joint', 'three'):  # each head shows the taps that it uses
            used = dict(
                pred_instances=['layer4.expand', 'layer6.expand', 'conv2'],
                pred_sem_seg=['layer7'],
                pred_scores=['conv2'],
            )
            assert list(found.maps) == used[found.field]


@pytest.mark.slow
def test_predict_writes_both_heatmaps(model, tmp_path):
    _, config, checkpoint, options = model
    (tmp_path / 'in/deep').mkdir(parents=True)
    for name, image in zip(('a.b', 'deep/c'), random_images(2, (96, 120)), strict=True):
        Image.fromarray(image).save(tmp_path / f'in/{name}.png')
    predict(config, checkpoint, [str(tmp_path / 'in')], out=str(tmp_path / 'out'),
            features=True, cfg_options=options)  # fmt: skip
    for name in ('a.b', 'deep/c'):
        for kind in ('taps', 'classes'):
            drawn = np.asarray(Image.open(tmp_path / f'out/{name}.{kind}.png').convert('RGB'))
            assert min(drawn.shape[:2]) > 300
            assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 500


def test_unsupported_options_are_refused(sample_dataset, tmp_path):
    config = str(ROOT / 'configs/ssdlite_mbv2_sample.py')
    for name in ('a.png', 'b.mp4'):
        (tmp_path / name).write_bytes(b'')
    for checkpoint, name, said in [
        ('model.onnx', 'a.png', 'give the checkpoint'),
        ('model.pth', 'b.mp4', 'remove the video'),
    ]:
        with pytest.raises(UserError, match=said):
            predict(config, checkpoint, [str(tmp_path / name)], out=str(tmp_path), features=True)
    config, checkpoint, options = write_config(
        tmp_path, DETECTION, 'ssdlite_mbv2_sample', sample_dataset
    )
    cfg = load_config(config, options)
    cfg.model.backbone = dict(type='mmdet.MobileNetV2', out_indices=(2, 4, 7), widen_factor=0.25)
    cfg.model.neck.update(in_channels=(8, 24, 1280), out_channels=(8, 24, 1280, 64, 32))
    cfg.model.bbox_head.in_channels = (8, 24, 1280, 64, 32)
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), other)
    with pytest.raises(UserError, match='has MobileNetV2 in its place'):
        FeatureInspector(cfg, str(other), score_thr=0.3)
