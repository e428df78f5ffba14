"""Every config builds, has the published structure, and can be inherited from elsewhere."""

import glob
import os.path as osp
import textwrap
import warnings
from pathlib import Path

import mmdet.models.dense_heads as mmdet_heads
import pytest
import torch
import torchvision
from helpers.networks import images, num_params, randomise
from helpers.paths import ROOT, config_path
from mmdet.structures import DetDataSample
from mmengine.analysis import get_model_complexity_info
from mmengine.registry import MODELS

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.workbench.configs.read import RESIZES, datasets_of, load_config

CONFIGS = str(ROOT / 'configs')
ALL = sorted(glob.glob(osp.join(CONFIGS, '*.py')))
DETECTION = [path for path in ALL if osp.basename(path).startswith('ssdlite_')]


@pytest.mark.parametrize('path', DETECTION, ids=map(osp.basename, DETECTION))
def test_a_config_builds_and_its_parts_fit(path):
    cfg = load_config(path)
    model = MODELS.build(cfg.model).eval()
    info = model.backbone.feature_info
    taken = getattr(model.neck, 'in_channels', model.bbox_head.in_channels[: len(info)])
    assert tuple(taken) == tuple(i.channels for i in info)
    height, width = next(
        step.scale for step in cfg.test_dataloader.dataset.pipeline if step.type in RESIZES
    )
    with torch.no_grad():
        scores, deltas = model(torch.zeros(1, 3, height, width), mode='tensor')
    assert len(scores) == len(deltas) == model.bbox_head.prior_generator.num_levels
    assert {d.type for d in datasets_of(cfg)} <= {'CheckedCocoDataset', 'CheckedVOCDataset'}
    header = Path(path).read_text().split('_base_')[0]
    assert 'tools/train.py' in header
    assert 'ublished' in header


def test_ssdlite_coco_has_the_papers_size():
    model = MODELS.build(load_config(config_path('ssdlite_mbv2_coco')).model).eval()
    assert num_params(model) == 4_337_013  # paper, table 6: 4.3 M
    assert num_params(model.neck, model.bbox_head) == 2_113_141  # paper, table 5: 2.1 M
    model.forward = model._forward
    counted = get_model_complexity_info(model, (3, 320, 320), show_table=False, show_arch=False)
    assert round(counted['flops'] / 1e9, 1) == 0.8  # paper, table 6: 0.8 B


def test_ssdlite_coco_plus_stays_near_the_papers_size():
    model = MODELS.build(load_config(config_path('ssdlite_mbv2_coco_plus')).model).eval()
    assert num_params(model) == 2_810_404 <= 1.1 * 4_337_013
    model.forward = model._forward
    counted = get_model_complexity_info(model, (3, 320, 320), show_table=False, show_arch=False)
    assert round(counted['flops'] / 1e9, 2) == 0.86 <= 1.1 * 0.82


def test_ssdlite_mmdet_taps_has_mmdets_size():
    model = MODELS.build(load_config(config_path('ssdlite_mbv2_coco_mmdet-taps')).model).eval()
    assert round(num_params(model) / 1e6, 3) == 4.229
    model.forward = model._forward
    counted = get_model_complexity_info(model, (3, 320, 320), show_table=False, show_arch=False)
    assert round(counted['flops'] / 1e9, 3) == 0.774


def test_mmdets_checkpoint_loads_as_it_is_and_detects_the_same():
    cfg = load_config(config_path('ssdlite_mbv2_coco_mmdet-taps'))
    ours = MODELS.build(cfg.model).eval()
    cfg.model.backbone.type, cfg.model.bbox_head.type = 'MobileNetV2', 'SSDHead'
    cfg.model.neck.type = 'SSDNeck'
    theirs = randomise(MODELS.build(cfg.model)).eval()
    theirs.bbox_head.loss_cls = None  # what SSDHead forgets
    assert isinstance(theirs.bbox_head, mmdet_heads.SSDHead)
    x = images(2, 3, 320, 320)
    with torch.no_grad():
        for convs, scores in zip(theirs.bbox_head.cls_convs, theirs._forward(x)[0], strict=True):
            convs[-1].weight /= scores.std() / 2  # scores that differ
    ours.load_state_dict(theirs.state_dict())
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(320, 320), batch_input_shape=(320, 320), pad_shape=(320, 320),
            scale_factor=(0.5, 2 / 3),
        )
    )  # fmt: skip
    with torch.no_grad():
        for a, b in zip(ours._forward(x), theirs._forward(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        found = ours.predict(x, [sample.clone() for _ in range(2)])
        expected = theirs.predict(x, [sample.clone() for _ in range(2)])
    for a, b in zip(found, expected, strict=True):
        a, b = a.pred_instances, b.pred_instances
        assert len(a) == len(b) > 20
        torch.testing.assert_close(a.scores, b.scores, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a.bboxes, b.bboxes, rtol=1e-4, atol=1e-3)
        assert torch.equal(a.labels, b.labels)


def test_one_list_of_classes_sets_head_metainfo_and_evaluator():
    cfg = load_config(config_path('ssdlite_mbv2_coco'), ['classes=("cat","dog")'])
    assert cfg.model.bbox_head.num_classes == 2
    assert {tuple(d.metainfo.classes) for d in datasets_of(cfg)} == {('cat', 'dog')}


def test_data_root_moves_every_path():
    cfg = load_config(config_path('ssdlite_mbv2_coco'), ['data_root=elsewhere/coco'])
    assert {d.data_root for d in datasets_of(cfg)} == {'elsewhere/coco'}
    assert cfg.val_evaluator.ann_file == 'elsewhere/coco/annotations/instances_val2017.json'


def test_a_users_config_outside_this_repository_inherits_ours(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        textwrap.dedent(f"""
        _base_ = {config_path('ssdlite_mbv2_bccd')!r}
        classes = ('a', 'b', 'c', 'd')
        data_root = 'data/mine/'
        """)
    )
    cfg = load_config(str(path))
    model = MODELS.build(cfg.model)
    assert model.bbox_head.num_classes == 4
    assert cfg.work_dir == osp.join('work_dirs', 'mine')
    assert {tuple(d.metainfo.classes) for d in datasets_of(cfg)} == {('a', 'b', 'c', 'd')}


def test_mmdets_retinanet_takes_our_backbone(tmp_path):
    path = tmp_path / 'retinanet.py'
    path.write_text(
        textwrap.dedent("""
        _base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
        custom_imports = dict(imports=['mbv2_backbone'])
        model = dict(
            backbone=dict(_delete_=True, type='MobileNetV2Backbone'),
            neck=dict(in_channels=[24, 32, 96, 320]),
        )
        """)
    )
    model = MODELS.build(load_config(str(path)).model)
    assert isinstance(model.backbone, MobileNetV2Backbone)
    with torch.no_grad():
        scores, _ = model.eval()(torch.zeros(1, 3, 64, 64), mode='tensor')
    assert [tuple(s.shape[-2:]) for s in scores] == [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]


def test_the_voc_config_starts_from_torchvision_weights(tmp_path):
    path = tmp_path / 'tv.pth'
    theirs = randomise(torchvision.models.mobilenet_v2(weights=None))
    torch.save(theirs.state_dict(), path)
    options = [f'model.backbone.init_cfg.checkpoint={path}']
    model = MODELS.build(load_config(config_path('ssdlite_mbv2_voc0712'), options).model)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)  # padding, eps and preprocessing all agree
        model.init_weights()
    weight = theirs.features[18][0].weight
    assert torch.equal(model.backbone.conv2.conv.weight, weight)
