"""Parameters and multiply-adds of a model, and the share of each part."""

from __future__ import annotations

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from torch import nn

from mbv2_backbone.workbench.configs.read import task_of

from .inputs import Size
from .models import build_random, class_counts, quiet
from .peers import peer_config, torchvision_detector, torchvision_segmentor

PARTS = ('backbone', 'neck', 'head')
_PART_OF = dict(bbox_head='head', decode_head='head', head='head', classifier='head')


class _Layers(nn.Module):
    """The layers of a torchvision model, without the resizing before and the boxes after."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.head = getattr(model, 'head', None) or model.classifier

    def forward(self, images: torch.Tensor) -> object:
        features = self.backbone(images)
        is_detector = len(features) > 1
        return self.head(list(features.values()) if is_detector else features['out'])


def count_model(model: nn.Module, size: Size) -> dict[str, float]:
    """Count a model at an image size, with mmengine's rules for multiply-adds.

    Args:
        model: A detector or segmentor of mmdet or mmseg, or `backbone` and `head` in one module.
        size: Height and width of the image.

    Returns:
        `params` and `madds`, and of each part (`backbone`, `neck`, `head`) `<part> params` and
        `<part> madds`. Parts that only training uses (an auxiliary head) count in `params` alone.
    """
    forward = getattr(model, '_forward', None)
    if forward is not None:
        model.forward = forward
    with quiet():  # it lists every operator that counts nothing
        madds = FlopAnalyzer(model.eval(), (torch.zeros(1, 3, *size),)).by_module()
    counts: dict[str, float] = dict(
        params=sum(p.numel() for p in model.parameters()), madds=float(madds[''])
    )
    for part in PARTS:
        names = [n for n, _ in model.named_children() if _PART_OF.get(n, n) == part]
        counts[f'{part} params'] = sum(
            p.numel() for name in names for p in getattr(model, name).parameters()
        )
        counts[f'{part} madds'] = float(sum(madds[name] for name in names))
    return counts


def complexity_rows(cfg: Config, peers: tuple[str, ...], size: Size) -> list[dict]:
    """Count ours and the peers; one row of text and numbers each."""
    num_classes, num_seg_classes = class_counts(cfg)
    models = {'ours': build_random(cfg)}
    for peer in peers:
        if peer != 'torchvision':
            models[peer] = build_random(peer_config(peer, cfg, size), peer)
        elif task_of(cfg) == 'seg':
            models[peer] = _Layers(torchvision_segmentor(num_seg_classes))
        else:
            models[peer] = _Layers(torchvision_detector(num_classes, size))
    return [_row(name, count_model(model, size)) for name, model in models.items()]


def _row(name: str, counts: dict[str, float]) -> dict:
    row = {
        'name': name,
        'params M': round(counts['params'] / 1e6, 3),
        'MAdds B': round(counts['madds'] / 1e9, 3),
    }
    for part in PARTS:
        shares = (counts[f'{part} {what}'] / counts[what] for what in ('params', 'madds'))
        row[f'{part} params/MAdds'] = ' / '.join(f'{share:.0%}' for share in shares)
    return row
