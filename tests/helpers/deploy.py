"""Small configs with random checkpoints, for the tests of exports."""

import logging
import textwrap

import numpy as np
import torch
from helpers.networks import randomise
from helpers.paths import ROOT
from mmengine.registry import MODELS

from mbv2_backbone.workbench.configs.read import load_config

# pytest would format and keep the thousands of log records of one torch.export.
logging.getLogger('torch.__trace').propagate = False
DETECTION = """
    _base_ = {base!r}
    model = dict(
        backbone=dict(widen_factor=0.25),
        neck=dict(in_channels=(48, 144, 1280), out_channels=(48, 144, 1280, 64, 32)),
        bbox_head=dict(in_channels=(48, 144, 1280, 64, 32)),
        test_cfg=dict(nms_pre=400, score_thr=0.05, max_per_img=60))
"""
TENSORFLOW = """
    _base_ = {base!r}
    norm_cfg = dict(type='BN', eps=0.001)
    model = dict(
        backbone=dict(widen_factor=0.25, padding='same', norm_cfg=norm_cfg),
        neck=dict(
            type='SSDLiteNeck', padding='same', norm_cfg=norm_cfg,
            in_channels=(48, 144, 1280), out_channels=(48, 144, 1280, 64, 32)),
        bbox_head=dict(use_sigmoid=True, in_channels=(48, 144, 1280, 64, 32)),
        test_cfg=dict(
            nms_pre=-1, nms=dict(type='nms', iou_threshold=0.6), score_thr=1e-8, max_per_img=60,
            clip_after_nms=True))
    resize = dict(type='LegacyResize', scale=(128, 128))
    test_pipeline = [
        dict(type='LoadImageFromFile'),
        resize,
        dict(type='LoadAnnotations', with_bbox=True),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
    val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
    test_dataloader = val_dataloader
"""
PYRAMID = """
    _base_ = {base!r}
    model = dict(
        backbone=dict(widen_factor=0.25),
        neck=dict(_delete_=True, type='FPNLite', in_channels=(48, 144, 1280), out_channels=32),
        bbox_head=dict(type='QualitySSDLiteHead', in_channels=(32,) * 5),
        train_cfg=dict(_delete_=True),
        test_cfg=dict(nms_pre=400, score_thr=0.05, max_per_img=60))
"""
JOINT = """
    _base_ = {base!r}
    model = dict(
        backbone=dict(widen_factor=0.25),
        neck=dict(in_channels=(48, 144, 1280), out_channels=(48, 144, 1280, 64, 32)),
        bbox_head=dict(in_channels=(48, 144, 1280, 64, 32)),
        decode_head=dict(in_channels=80, channels=32))
"""
SEGMENTATION = """
    _base_ = {base!r}
    model = dict(backbone=dict(widen_factor=0.25), decode_head=dict(in_channels=80, channels=32))
"""


def write_config(folder, text, base, sample_dataset):
    """Write a config and a checkpoint; return their paths and the option of the data root."""
    path = folder / f'{base}.py'
    path.write_text(textwrap.dedent(text.format(base=str(ROOT / 'configs' / f'{base}.py'))))
    options = [f'data_root={sample_dataset}/']
    model = randomise(MODELS.build(load_config(str(path), options).model))
    if hasattr(model, 'bbox_head'):
        for conv in model.bbox_head.cls_convs:
            conv[1].weight.data *= 0.3  # the scores of a random head would all be near 0 or 1
    if hasattr(model, 'decode_head'):
        model.decode_head.conv_seg.weight.data *= 0.1  # logits as large as after training
    checkpoint = folder / f'{base}.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return str(path), str(checkpoint), options


def random_images(count, size, seed=0):
    """Return smooth random images `(count, *size, 3)` uint8."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 9, 9)))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode='bilinear')
    return smooth.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
