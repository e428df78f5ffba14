"""The peers as their packages ship them; what keeps them from running is fixed and noted."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import task_of, walk

from .inputs import Size
from .models import class_counts, set_size

MMDET_CONFIG = 'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'
MMSEG_CONFIG = 'mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py'
OF_CLASSIFIERS = ('backbone', 'predict', 'deploy')
DOES = dict(mmdet='boxes', mmseg='masks')

FIXED_HEAD = (
    "mmdet's SSDHead is fixed: it skips its parent's constructor and lacks `loss_cls`, without "
    'which it cannot predict; set to None'
)
FIXED_NORM = "mmseg's SyncBN is replaced by BN: it runs in distributed training only"
NO_WEIGHTS = 'all models have random weights'
TORCH_NO_WEIGHTS = 'the models that run in PyTorch have random weights'


def default_peers(cfg: Config) -> tuple[str, ...]:
    """Return the toolboxes that ship the like of a config's model."""
    peers = dict(det=('mmdet',), seg=('mmseg',), joint=('mmdet', 'mmseg'), cls=('torchvision',))
    return peers[task_of(cfg)]


def check_peers(cfg: Config, peers: Sequence[str], allowed: Sequence[str], work: str) -> None:
    """Refuse peers that have no counterpart of a config's model.

    Raises:
        UserError: It says which peers fit.
    """
    task = task_of(cfg)
    unfit = dict(det=('mmseg',), seg=('mmdet',), joint=(), cls=('mmdet', 'mmseg'))[task]
    fitting = [peer for peer in allowed if peer not in unfit]
    if task == 'cls' and work not in OF_CLASSIFIERS:
        raise UserError(f'classifiers are measured by {", ".join(OF_CLASSIFIERS)}, not by `{work}`')
    for peer in peers:
        if peer not in fitting:
            raise UserError(
                f'{peer} has nothing to compare `{work}` of a {task} config with; '
                f'--peer can be {" or ".join(fitting)}'
            )
        if find_spec(peer) is None:
            raise UserError(f'--peer {peer} needs {peer}: pip install {peer}')


def stock_config(package: str, name: str) -> Config:
    """Read a config that mmdet or mmseg installed.

    Raises:
        UserError: If the package or the config is not installed.
    """
    path = toolbox_folder(package, 'configs') / name
    if not path.is_file():
        raise UserError(f'{package} with its configs is not installed (looked for {name})')
    return Config.fromfile(path)


def toolbox_folder(package: str, name: str) -> Path:
    """Return the folder `configs` or `tools` that mmdet or mmseg installed.

    Raises:
        UserError: If the package or its folder is not installed.
    """
    spec = find_spec(package)
    path = Path(spec.origin).parent / '.mim' / name if spec else None
    if path is None or not path.is_dir():
        raise UserError(f'{package} with its {name} is not installed')
    return path


def peer_config(peer: str, cfg: Config, size: Size) -> Config:
    """Return mmdet's or mmseg's config with the classes of ours, at an input size."""
    num_classes, num_seg_classes = class_counts(cfg)
    if peer == 'mmdet':
        theirs = stock_config('mmdet', MMDET_CONFIG)
        theirs.model.bbox_head.num_classes = num_classes
    else:
        theirs = stock_config('mmseg', MMSEG_CONFIG)
        for node in walk(theirs.model):
            if node.get('type') == 'SyncBN':
                node['type'] = 'BN'
        for head in (theirs.model.decode_head, theirs.model.auxiliary_head):
            head.num_classes = num_seg_classes
        theirs.model.data_preprocessor.update(size=size, test_cfg=dict(size=size))
    set_size(theirs, size)
    return theirs


def fix_head(model: nn.Module) -> list[str]:
    """Let a peer's model predict; return what was fixed."""
    head = getattr(model, 'bbox_head', None)
    if head is not None and type(head).__name__ == 'SSDHead' and not hasattr(head, 'loss_cls'):
        head.loss_cls = None
        return [FIXED_HEAD]
    return []


def torchvision_detector(num_classes: int, size: Size, **options: object) -> nn.Module:
    """Build torchvision's SSDLite (MobileNetV3-Large) for an input size, with random weights."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    model = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=num_classes + 1, **options
    )
    model.transform.fixed_size = size[::-1]
    return model


def torchvision_segmentor(num_classes: int) -> nn.Module:
    """Build torchvision's DeepLabV3 (MobileNetV3-Large), with random weights."""
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    return deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=num_classes
    )


def torchvision_classifier(num_classes: int, widen_factor: float) -> nn.Module:
    """Build torchvision's MobileNetV2, with random weights."""
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(weights=None, num_classes=num_classes, width_mult=widen_factor)


def torchvision_backbone(widen_factor: float) -> nn.Module:
    """Build torchvision's MobileNetV2 up to its last feature map, with random weights."""
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(weights=None, width_mult=widen_factor).features


def timm_backbone(widen_factor: float) -> nn.Module:
    """Build timm's MobileNetV2 with five feature maps, with random weights.

    Raises:
        UserError: If timm has no MobileNetV2 of that width.
    """
    import timm

    name = f'mobilenetv2_{round(widen_factor * 100):03d}'
    if not timm.is_model(name):
        raise UserError(f'timm has no {name}; compare it at width 0.35, 0.5, 0.75, 1.0 or 1.4')
    return timm.create_model(name, pretrained=False, features_only=True)


@torch.no_grad()
def folded_sequentials(model: nn.Module) -> nn.Module:
    """Fold the batch norms that follow a convolution in a `Sequential` into it, in place."""
    for module in model.modules():
        if not isinstance(module, nn.Sequential):
            continue
        children = list(module.named_children())
        for (name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval()))
                setattr(module, norm_name, nn.Identity())
    return model
