"""mmdet's own detectors on our backbone, with the stand-in for mmcv's compiled operators."""

import pytest
import torch
from helpers.networks import images
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

BACKBONE = dict(
    type='MobileNetV2Backbone',
    widen_factor=0.25,
    out_indices=('layer2', 'layer3', 'layer5', 'layer7'),
)


def channels(num):
    from mbv2_backbone import MobileNetV2Backbone

    kwargs = {k: v for k, v in BACKBONE.items() if k != 'type'}
    return [info.channels for info in MobileNetV2Backbone(**kwargs).feature_info][-num:]


def retinanet():
    cfg = get_config('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py').model
    cfg.neck.in_channels = channels(4)
    return cfg


def faster_rcnn():
    cfg = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py').model
    cfg.neck.in_channels = channels(4)
    return cfg


def yolox():
    cfg = get_config('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py').model
    cfg.data_preprocessor.batch_augments = None
    cfg.neck.in_channels = channels(3)
    cfg.neck.out_channels = cfg.bbox_head.in_channels = cfg.bbox_head.feat_channels = 32
    return cfg


def batch():
    samples = []
    for boxes in ([[10.0, 10, 60, 80], [40, 30, 100, 90]], [[5.0, 50, 70, 120]]):
        sample = DetDataSample(
            gt_instances=InstanceData(bboxes=torch.tensor(boxes), labels=torch.arange(len(boxes)))
        )
        sample.set_metainfo(
            dict(img_shape=(128, 128), ori_shape=(128, 128), scale_factor=(1.0, 1.0))
        )
        samples.append(sample)
    pixels = (images(2, 3, 128, 128) * 40 + 128).clamp(0, 255).byte()
    return dict(inputs=list(pixels), data_samples=samples)


@pytest.mark.parametrize('build', [retinanet, faster_rcnn, yolox])
def test_one_training_step_and_one_prediction(build):
    init_default_scope('mmdet')
    cfg = build()
    cfg.backbone = dict(BACKBONE)
    if build is yolox:
        cfg.backbone.out_indices = cfg.backbone['out_indices'][1:]
    model = MODELS.build(cfg)
    model.init_weights()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = model.backbone.conv1.conv.weight.clone()

    data = model.data_preprocessor(batch(), training=True)
    losses, _ = model.parse_losses(model(**data, mode='loss'))
    losses.backward()
    optimizer.step()
    assert losses.isfinite()
    assert not torch.equal(before, model.backbone.conv1.conv.weight)

    model.eval()
    model.test_cfg.get('rcnn', model.test_cfg).score_thr = 0.0
    with torch.no_grad():
        found = model.test_step(batch())
    assert len(found) == 2
    for sample in found:
        boxes = sample.pred_instances.bboxes
        assert len(boxes) > 0
        assert boxes.isfinite().all()
