"""Small configs with random checkpoints, for the tests of exports."""

import logging
import shutil
import textwrap
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from helpers.machine import skip_without
from helpers.networks import randomise
from helpers.paths import ROOT
from mmengine.registry import MODELS

from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.export.export import export

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
ASPP = SEGMENTATION.replace('channels=32)', 'channels=32, dilations=(3, 6, 9))')
DEEPLABV3PLUS = """
    _base_ = {base!r}
    model = dict(
        backbone=dict(widen_factor=0.25, out_indices=('layer2', 'layer7')),
        decode_head=dict(
            type='DeepLabV3PlusHead', in_index=1, in_channels=80, channels=32, fine_in_channels=8,
            dilations=(3, 6, 9)))
"""
LRASPP = """
    _base_ = {base!r}
    model = dict(
        backbone=dict(widen_factor=0.25, out_indices=('layer3', 'layer7')),
        decode_head=dict(
            _delete_=True, type='MobileLRASPPHead', in_channels=(8, 80), channels=32,
            num_classes=5, norm_cfg=dict(type='BN')))
"""
THREE = JOINT.replace('        decode', '        cls_head=dict(in_channels=1280),\n        decode')
# More classes than a prediction names.
IMAGE_CLASSES = ('disc', 'square', 'triangle', 'star', 'cross', 'ring', 'heart')
CLASSIFIER = f"""
    _base_ = {{base!r}}
    classes = {IMAGE_CLASSES}
    palette = {[(30 * i, 20, 200) for i in range(7)]}
    model = dict(backbone=dict(widen_factor=0.35), head=dict(num_classes=7))
    test_pipeline = [
        dict(type='LoadImageAsAnnotated'),
        dict(type='CentreView', size=64, resize=73, interpolation='bicubic'),
        dict(type='PackClassInputs')]
    val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
    test_dataloader = val_dataloader
"""
SLIM = CLASSIFIER.replace('bicubic', 'legacy').replace('0.35)', "0.35, padding='same')")
# Every kind of model that an export takes: its config, and the sample config it begins with.
EXPORTABLE = {
    'det': (DETECTION, 'ssdlite_mbv2_sample'),
    'pyramid': (PYRAMID, 'ssdlite_mbv2_sample'),
    'tensorflow': (TENSORFLOW, 'ssdlite_mbv2_sample'),
    'seg': (SEGMENTATION, 'deeplabv3_mbv2_sample'),
    'aspp': (ASPP, 'deeplabv3_mbv2_sample'),
    'deeplabv3plus': (DEEPLABV3PLUS, 'deeplabv3_mbv2_sample'),
    'lraspp': (LRASPP, 'deeplabv3_mbv2_sample'),
    'joint': (JOINT, 'ssdlite-deeplabv3_mbv2_sample'),
    'three': (THREE, 'ssdlite-deeplabv3-classifier_mbv2_sample'),
    'cls': (CLASSIFIER, 'mobilenetv2_sample'),
    'slim': (SLIM, 'mobilenetv2_sample'),
}


def write_config(folder, text, base, sample_dataset):
    """Write a config and a checkpoint; return their paths and the option of the data root."""
    path = folder / f'{base}.py'
    path.write_text(textwrap.dedent(text.format(base=str(ROOT / 'configs' / f'{base}.py'))))
    root = sample_dataset
    if 'mobilenetv2' in base:
        root = copy_crops(sample_dataset / 'sample_crops', folder / 'crops')
    options = [f'data_root={root}/']
    model = randomise(MODELS.build(load_config(str(path), options).model))
    if hasattr(model, 'bbox_head'):
        for conv in model.bbox_head.cls_convs:
            # The scores of a random head would all be near 0 or 1; a pyramid's enlarge rounding.
            conv[1].weight.data *= 0.15 if text is PYRAMID else 0.3
    if hasattr(model, 'decode_head'):
        for name, parameter in model.decode_head.named_parameters():
            if '_seg.' in name:
                parameter.data *= 0.03  # random weights enlarge rounding, here of the logits
    checkpoint = folder / f'{base}.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return str(path), str(checkpoint), options


def copy_crops(crops, root):
    """Make folders of `IMAGE_CLASSES` of those of the sample dataset, some of them twice."""
    names = sorted(path.name for path in (crops / 'train').iterdir())
    for split in ('train', 'val'):
        for name, source in zip(IMAGE_CLASSES, names * 2, strict=False):
            shutil.copytree(crops / split / source, root / split / name)
    return root


def exporter(folder, sample_dataset, to=None):
    """Return a function that exports one of `EXPORTABLE` once for each set of options.

    Its attribute `model` returns the config of one, its checkpoint and its options.

    Args:
        folder: For the models and the files.
        sample_dataset: Their data.
        to: The format; without it, one of the options.
    """

    @cache
    def model(name):
        place = folder / f'{name}-model'
        place.mkdir()
        return write_config(place, *EXPORTABLE[name], sample_dataset)

    @cache
    def result(name, **options):
        config, checkpoint, cfg_options = model(name)
        out = folder / '-'.join([name, *(f'{key}={options[key]}' for key in sorted(options))])
        wanted = dict(to=to, out=str(out), num_images=3, num_calibration=8) | options
        if wanted['to'] == 'litert' and find_spec('litert_torch') is None:
            skip_without('converter to LiteRT (make litert)')
        return export(config, checkpoint, cfg_options=cfg_options, **wanted)

    result.model = model
    return result


def random_images(count, size, seed=0):
    """Return smooth random images `(count, *size, 3)` uint8."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 9, 9)))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode='bilinear')
    return smooth.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
