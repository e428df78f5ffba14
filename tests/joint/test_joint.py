"""The joint model against its two single-task models, and through the tools."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.networks import images, randomise
from helpers.paths import ROOT
from mmdet.structures import DetDataSample
from mmengine.analysis import get_model_complexity_info
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mbv2_backbone.joint import JointIoUMetric
from mbv2_backbone.workbench.configs.read import load_config, task_of
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.run import evaluate, train

CONFIG = str(ROOT / 'configs' / 'ssdlite-deeplabv3_mbv2_sample.py')


@pytest.fixture(scope='module')
def models():
    """The joint model, and a detector and a segmentor built from the same parts."""
    cfg = load_config(CONFIG)
    joint = randomise(MODELS.build(cfg.model))
    joint.decode_head.conv_seg.weight.data *= 5
    detector_cfg = cfg.model.copy()
    detector_cfg.type = 'SingleStageDetector'
    for key in ('decode_head', 'det_indices'):
        detector_cfg.pop(key)
    detector_cfg.backbone.out_indices = ('layer4.expand', 'layer6.expand', 'conv2')
    detector = MODELS.build(detector_cfg)
    detector.load_state_dict(joint.state_dict(), strict=False)
    init_default_scope('mmseg')
    segmentor = MODELS.build(
        ConfigDict(
            type='EncoderDecoder',
            backbone=dict(
                type='MobileNetV2Backbone', widen_factor=0.5, out_indices=('layer7',),
                output_stride=16, norm_cfg=dict(type='BN', eps=0.001),
            ),
            decode_head=dict(cfg.model.decode_head, in_index=0),
            test_cfg=dict(mode='whole'),
        )
    )  # fmt: skip
    segmentor.load_state_dict(joint.state_dict(), strict=False)
    init_default_scope('mmdet')
    return joint, detector, segmentor


def samples(seed=0, size=(128, 128)):
    """Return two images resized from 192x160; the second one is padded."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for shape in (size, (112, 96)):
        sample = DetDataSample(
            metainfo=dict(
                img_shape=shape, ori_shape=(192, 160), pad_shape=shape, batch_input_shape=size,
                scale_factor=(shape[1] / 160, shape[0] / 192),
            )
        )  # fmt: skip
        corner = torch.rand(3, 2, generator=generator) * 50
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + 40], 1),
            labels=torch.randint(4, (3,), generator=generator),
        )
        masks = torch.randint(5, (1, *size), generator=generator)
        masks[:, shape[0] :], masks[:, :, shape[1] :] = 255, 255
        sample.gt_sem_seg = PixelData(sem_seg=masks)
        found.append(sample)
    return found


def test_losses_and_gradients_equal_the_two_models(models):
    joint, detector, segmentor = (model.train() for model in models)
    x = images(2, 3, 128, 128)
    calls = []
    handle = joint.backbone.register_forward_hook(lambda *_: calls.append(1))
    losses = joint.loss(x, samples())
    handle.remove()
    assert len(calls) == 1
    det_losses = detector.loss(x, samples())
    masks = [
        SegDataSample(gt_sem_seg=PixelData(data=s.gt_sem_seg.sem_seg), metainfo=s.metainfo)
        for s in samples()
    ]
    seg_losses = segmentor.loss(x, masks)
    assert set(losses) == {*det_losses, 'seg.loss_ce', 'seg.acc_seg'}
    torch.testing.assert_close(losses['seg.loss_ce'], seg_losses['decode.loss_ce'])
    torch.testing.assert_close(losses['loss_cls'], det_losses['loss_cls'])
    torch.testing.assert_close(losses['loss_bbox'], det_losses['loss_bbox'])
    for model, found in ((joint, losses), (detector, det_losses), (segmentor, seg_losses)):
        model.zero_grad()
        model.parse_losses(found)[0].backward()
    name = 'layer3.0.linear_conv.conv.weight'
    ours, det, seg = (model.backbone.get_parameter(name).grad for model in models)
    torch.testing.assert_close(ours, det + seg, rtol=1e-3, atol=1e-4)


def test_predictions_equal_the_two_models(models):
    joint, detector, segmentor = (model.eval() for model in models)
    x = images(2, 3, 128, 128, seed=3)
    with torch.no_grad():
        found = joint.predict(x, samples())
        expected = detector.predict(x, samples())
        logits = segmentor._forward(x)
    logits = torch.nn.functional.interpolate(logits, size=(128, 128), mode='bilinear')
    for i, (ours, theirs, shape) in enumerate(
        zip(found, expected, [(128, 128), (112, 96)], strict=True)
    ):
        torch.testing.assert_close(ours.pred_instances.bboxes, theirs.pred_instances.bboxes)
        torch.testing.assert_close(ours.pred_instances.scores, theirs.pred_instances.scores)
        crop = logits[i : i + 1, :, : shape[0], : shape[1]]
        crop = torch.nn.functional.interpolate(crop, size=(192, 160), mode='bilinear')
        assert ours.pred_sem_seg.sem_seg.shape == (1, 192, 160)
        agreement = (ours.pred_sem_seg.sem_seg[0] == crop[0].argmax(0)).float().mean()
        assert agreement > 0.9999
        assert len(crop[0].argmax(0).unique()) > 1
    with torch.no_grad():
        unscaled = joint.predict(x, samples(), rescale=False)
    assert unscaled[1].pred_sem_seg.sem_seg.shape == (1, 112, 96)


def test_the_cost_is_one_backbone_and_both_heads(models):
    def cost(model):
        model.eval()
        forward, model.forward = model.forward, model._forward
        found = get_model_complexity_info(model, (3, 128, 128), show_table=False, show_arch=False)
        model.forward = forward
        return found['flops'], sum(p.numel() for p in model.parameters())

    (flops, params), (det_flops, det_params), (seg_flops, seg_params) = map(cost, models)
    backbone = sum(p.numel() for p in models[2].backbone.parameters())
    assert params == det_params + seg_params - backbone
    assert max(det_flops, seg_flops) < flops < 0.75 * (det_flops + seg_flops)


def test_the_metric_needs_mask_classes():
    with pytest.raises(ValueError, match='seg_classes'):
        JointIoUMetric().dataset_meta = dict(classes=('a',))


@pytest.fixture(scope='module')
def trained(sample_dataset, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('joint')
    options = [
        f'data_root={sample_dataset}/', 'train_dataloader.batch_size=8', 'train_cfg.max_epochs=2',
        'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2',
    ]  # fmt: skip
    train(CONFIG, work_dir=str(work_dir), cfg_options=options)
    return work_dir, options


def test_one_evaluation_gives_both_metrics_masks_and_drawings(trained, sample_dataset, tmp_path):
    work_dir, options = trained
    assert task_of(load_config(CONFIG)) == 'joint'
    metrics = evaluate(
        CONFIG, str(work_dir / 'epoch_2.pth'), work_dir=str(tmp_path / 'work'),
        show_dir=str(tmp_path / 'shown'), out=str(tmp_path / 'masks'), cfg_options=options,
    )  # fmt: skip
    assert 0 <= metrics['coco/bbox_mAP'] <= 1
    assert 0 < metrics['seg/mIoU'] <= 100
    assert 'seg/IoU/background' in metrics
    names = {path.stem for path in (sample_dataset / 'JPEGImages').glob('val_*.jpg')}
    assert {path.stem for path in (tmp_path / 'masks').rglob('*.png')} == names
    assert {path.stem for path in (tmp_path / 'shown').rglob('*.jpg')} == names


def test_predict_draws_both_on_one_image_and_writes_rows_of_both(trained, sample_dataset, tmp_path):
    work_dir, options = trained
    image = sorted((sample_dataset / 'JPEGImages').glob('val_*.jpg'))[0]
    summary = predict(
        CONFIG, str(work_dir / 'epoch_2.pth'), [str(image)], out=str(tmp_path), score_thr=0.01,
        cfg_options=options,
    )  # fmt: skip
    rows = json.loads(Path(summary.predictions).read_text())
    assert {'bbox', 'segmentation'} <= {key for row in rows for key in row}
    assert {row['category_name'] for row in rows if 'bbox' in row} <= {
        'disc', 'square', 'triangle', 'star',
    }  # fmt: skip
    labels = np.asarray(Image.open(tmp_path / 'masks' / f'{image.stem}.png'))
    assert labels.shape == (96, 96)
    assert labels.max() < 5
    assert cv2.imread(str(tmp_path / f'{image.stem}.jpg')) is not None


@pytest.mark.parametrize(('output_stride', 'expected'), [(32, '0.75'), (16, '1.49')])
def test_the_phones_model_costs_ssdlite_and_a_head(output_stride, expected):
    """VOC's 20 classes at 320 px; SSDLite alone: 3.36 M, 0.72 B."""
    cfg = load_config(str(ROOT / 'configs' / 'ssdlite_mbv2_voc0712.py'))

    def cost():
        model = MODELS.build(cfg.model).eval()
        model.forward = model._forward
        found = get_model_complexity_info(model, (3, 320, 320), show_table=False, show_arch=False)
        return sum(p.numel() for p in model.parameters()), f'{found["flops"] / 1e9:.2f}'

    assert cost() == (3_355_833, '0.72')
    cfg.model.update(
        type='JointModel',
        det_indices=(0, 2),
        decode_head=dict(type='mmseg.DeepLabV3Head', in_index=1, output_stride=output_stride),
    )
    cfg.model.backbone.update(
        out_indices=('layer6.expand', 'layer7', 'conv2'), output_stride=output_stride
    )
    assert cost() == (3_657_678, expected)
