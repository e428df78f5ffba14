"""Models with random weights, prepared so that timing them is meaningful."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import type_name, walk
from mbv2_backbone.workbench.export.geometry import read_geometry

from .inputs import Size

_LOGIT_SPREAD = 1.5  # standard deviation of the class scores before the softmax


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the toolboxes log below an error to themselves."""
    before = logging.root.manager.disable
    _disable_logs(logging.WARNING)
    try:
        yield
    finally:
        _disable_logs(before)


def _disable_logs(level: int) -> None:
    logging.disable(level)
    # mmengine's loggers remember which levels are on, and forget it at their own setLevel only.
    logger = MMLogger.get_current_instance()
    logger.setLevel(logger.level)


def build_random(cfg: Config, scope: str | None = None) -> nn.Module:
    """Build and initialise a config's model; pretrained weights are left out.

    Args:
        cfg: The config; it is not changed.
        scope: The toolbox whose names it uses, if not the default scope.
    """
    model_cfg = deepcopy(cfg.model)
    for node in walk(model_cfg):
        inits = node.get('init_cfg')
        inits = inits if isinstance(inits, (list, tuple)) else [inits]
        if any(init and init.get('type') == 'Pretrained' for init in inits):
            node['init_cfg'] = None
        if 'pretrained' in node:
            node['pretrained'] = None
    scoped = DefaultScope.overwrite_default_scope(scope) if scope else nullcontext()
    with quiet(), scoped:
        model = MODELS.build(model_cfg)
        model.init_weights()
    return model


def build_optimizer(model: nn.Module, cfg: Config) -> OptimWrapper:
    """Build a config's optimizer at learning rate 0: every step does the same work."""
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    for group in wrapper.optimizer.param_groups:
        group['lr'] = 0.0
    return wrapper


def class_counts(cfg: Config) -> tuple[int, int]:
    """Return the number of classes of a config's boxes and of its masks; 0 for none."""
    counts = []
    for part in ('bbox_head', 'decode_head'):
        heads = [node['num_classes'] for node in walk(cfg.model.get(part)) if 'num_classes' in node]
        counts.append(heads[0] if heads else 0)
    return counts[0], counts[1]


def input_size(cfg: Config, size: Sequence[int] | None = None, *, training: bool = False) -> Size:
    """Return the height and width that a config's network sees, or the given size.

    Args:
        cfg: The config.
        size: Taken as it is, if given.
        training: The size in training, where it may be a crop.

    Raises:
        UserError: If the config does not tell.
    """
    if size is not None:
        return tuple(size)
    if training and cfg.model.get('data_preprocessor', {}).get('size'):
        return tuple(cfg.model.data_preprocessor.size)
    try:
        return read_geometry(cfg).network_size
    except UserError as error:
        raise UserError(
            f'the config names no input size; give --size HEIGHT WIDTH ({error})'
        ) from None


def set_size(cfg: Config, size: Size) -> None:
    """Let a config's pipelines resize, crop and pad to a size `(height, width)`, in place."""
    for split in ('train', 'val', 'test'):
        for step in walk(cfg.get(f'{split}_dataloader')):
            kind = type_name(step)
            if kind == 'RandomExpandCropResize' or (
                kind == 'Resize' and not step.get('keep_ratio', False)
            ):
                step['scale'] = size[::-1]
            elif kind == 'CentreView':
                step['resize'] = round(step['resize'] * size[0] / step['size'])
                step['size'] = size[0]
            elif (
                kind in ('RandomCrop', 'RandomResizeCropFlip')
                and step.get('crop_type', 'absolute') == 'absolute'
            ):
                step['crop_size'] = size
    preprocessor = cfg.model.get('data_preprocessor') or {}
    for node in (preprocessor, preprocessor.get('test_cfg') or {}):
        if node.get('size') is not None:
            node['size'] = size


@torch.no_grad()
def set_width(model_cfg: ConfigDict, widen_factor: float, scope: str | None = None) -> None:
    """Let an SSDLite's backbone have a width multiplier, and neck and head its channels, in place.

    Args:
        model_cfg: The `model` of a config.
        widen_factor: Width multiplier.
        scope: The toolbox whose names it uses, if not the default scope.
    """
    model_cfg.backbone.widen_factor = widen_factor
    backbone = build_random(Config(dict(model=model_cfg.backbone)), scope)
    backbone.eval()  # mmdet's returns None
    taps = [feature.shape[1] for feature in backbone(torch.zeros(1, 3, 64, 64))]
    channels = (*taps, *model_cfg.neck.out_channels[len(taps) :])
    model_cfg.neck.update(in_channels=channels[: len(taps)], out_channels=channels)
    model_cfg.bbox_head.in_channels = channels


@torch.no_grad()
def settle_batch_norm(model: nn.Module, forward: Callable[[], object]) -> None:
    """Let batch norms learn the statistics of one input, and leave the model in eval mode.

    With the statistics that they start with, the activations of random weights fade to numbers
    that processors compute with slowly.

    Args:
        model: It is changed.
        forward: Runs the model on images.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    forward()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


@torch.no_grad()
def set_candidates(
    convs: Iterable[nn.Conv2d],
    forward: Callable[[], Sequence[Tensor]],
    *,
    num_outputs: int,
    background: int | None,
    score_thr: float,
    count: int,
) -> None:
    """Let a detector with random weights find about `count` candidates in an image.

    A trained detector has few boxes above the threshold, one with random weights all or none.

    Args:
        convs: The last convolution of the class scores of each level; they are changed.
        forward: Runs the model; returns the logits `(N, A * num_outputs, H, W)` of each level.
        num_outputs: Classes and background, if there is one.
        background: Index of the background among them; `None` for a sigmoid for each class.
        score_thr: Scores above it are candidates.
        count: Candidates, pairs of a box and a class, in an image on average.
    """
    convs = list(convs)
    for conv, logits in zip(convs, forward(), strict=True):
        spread = float(logits.float().std()) or 1.0
        conv.weight.mul_(_LOGIT_SPREAD / spread)
        if conv.bias is not None:
            conv.bias.zero_()
    flat = torch.cat(
        [
            logits.float().permute(0, 2, 3, 1).reshape(len(logits), -1, num_outputs)
            for logits in forward()
        ],
        1,
    )
    low, high = -20.0, 40.0
    for _ in range(30):
        shift = (low + high) / 2
        if background is None:
            scores = (flat - shift).sigmoid()
        else:
            flat[..., background] += shift
            scores = flat.softmax(-1)
            flat[..., background] -= shift
            scores[..., background] = 0
        if int((scores > score_thr).sum()) > count * len(flat):
            low = shift
        else:
            high = shift
    for conv in convs:
        if background is None:
            conv.bias -= high
        else:
            conv.bias.view(-1, num_outputs)[:, background] += high
