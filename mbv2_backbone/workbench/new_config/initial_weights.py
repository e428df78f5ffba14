"""Choose the trained weights that a new config starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...common.messages import UserError, first_line
from ...weights.checkpoint_files import read_checkpoint
from ...weights.convert import convert, unwrap
from ...weights.layouts.tensorflow_parts import find_parts
from ...weights.origin import Origin
from ...weights.preprocessing import parse_config
from ...weights.sources import fetch
from ...weights.whole_parts import own_parts
from .parts import HEAD, NECK, TAPS

NO_WEIGHTS = 'none'
_IMAGENET = 'torchvision://mobilenet_v2'
_DETECTOR = 'tensorflow://ssdlite_mobilenet_v2_coco_2018_05_09'
_SEGMENTOR = 'tensorflow://deeplabv3_mnv2_pascal_train_aug_2018_01_29'
_WHOLE_DETECTOR = 'backbone, neck and head'
_BEST = dict(
    det=(_DETECTOR, _IMAGENET),
    seg=(_SEGMENTOR, _IMAGENET),
    both=(_DETECTOR, _IMAGENET),
    cls=(_IMAGENET,),
)  # all of width 1


@dataclass(frozen=True)
class TrainedHead:
    """What the neck and head of a trained detector of the plus recipe are built with.

    Attributes:
        shapes: Prior shapes of each map, see `Priors`.
        channels: Channels of the neck.
    """

    shapes: list[list[tuple[float, float]]]
    channels: int


@dataclass(frozen=True)
class InitialWeights:
    """What a new config starts from, and what the network needs to go with it.

    Attributes:
        address: A path or an address; `None` starts from scratch.
        has_head: Whether the checkpoint's neck and head are loaded, too.
        origin: Input, padding and batch norm of the weights; `None` from scratch.
        round_to: See `MobileNetV2Backbone`.
        fact: What was chosen, one line.
        detector: The detector's neck and head, where they are loaded.
    """

    address: str | None
    has_head: bool
    origin: Origin | None
    round_to: int
    fact: str
    detector: TrainedHead | None = None

    def without_head(self, reason: str) -> InitialWeights:
        """Return these weights with the backbone alone."""
        fact = f'{self.fact.replace(_WHOLE_DETECTOR, "backbone", 1)}; {reason}'
        return replace(self, has_head=False, detector=None, fact=fact)

    def backbone(self, norm: Any) -> dict[str, Any]:
        """Return the settings of the backbone; `norm` is the config's own batch norm."""
        if self.origin is None:
            return dict(
                norm_cfg=norm,
                init_cfg=[
                    dict(type='Kaiming', layer='Conv2d'),
                    dict(type='Constant', val=1, layer='_BatchNorm'),
                ],
            )
        settings: dict[str, Any] = dict(
            norm_cfg=dict(type='BN', eps=self.origin.batch_norm_eps, momentum=0.1)
        )
        if self.origin.padding != 'symmetric':
            settings['padding'] = self.origin.padding
        if self.round_to != 8:
            settings['round_to'] = self.round_to
        if self.has_head:
            return settings | dict(init_cfg=None)  # load_from has all of it
        init = dict(_delete_=True, type='Pretrained', checkpoint=self.address)
        return settings | dict(init_cfg=init)

    def preprocessor(self) -> dict[str, Any]:
        """Return the settings of the data preprocessor that the weights need."""
        if self.origin is None:
            return {}
        own = self.origin.preprocessing
        return dict(mean=list(own.mean), std=list(own.std), bgr_to_rgb=own.channel_order == 'RGB')


def choose_weights(task: str, width: float, wanted: str | None) -> InitialWeights:
    """Choose what to start from.

    Args:
        task: `det`, `seg`, `both` or `cls`.
        width: Width of the backbone.
        wanted: A path or an address; `none` for scratch; `None` for the best that can be fetched.

    Raises:
        UserError: If the weights that were asked for cannot be used.
    """
    if wanted == NO_WEIGHTS:
        return _from_scratch('from scratch, as --pretrained none asks')
    if wanted is not None:
        try:
            return _read(wanted, task, width)
        except (ValueError, RuntimeError, ImportError, OSError) as error:
            raise UserError(f'--pretrained {wanted}: {error}') from error
    if width != 1:
        return _from_scratch(
            f'from scratch: only width 1 has weights that are fetched by default, not {width:g}; '
            f'--pretrained takes a file or an address'
        )
    problem = ''
    for address in _BEST[task]:
        try:
            return _read(address, task, width)
        except (ValueError, RuntimeError, ImportError, OSError) as error:
            problem = first_line(error).partition('. ')[0]
    return _from_scratch(f'from scratch, as no trained weights could be fetched: {problem}')


def _from_scratch(fact: str) -> InitialWeights:
    return InitialWeights(None, False, None, 8, fact)


def _read(address: str, task: str, width: float) -> InitialWeights:
    checkpoint = read_checkpoint(fetch(address))
    _, report = convert(checkpoint, preferred_width=width)
    if report.widen_factor != width:
        raise ValueError(
            f'its width is {report.widen_factor:g}, and the config is to have {width:g}; choose '
            f'--width {report.widen_factor:g} or other weights'
        )
    what, has_head, detector = 'backbone', False, None
    if task == 'seg' and _has_segmentation_head(checkpoint, report.layout):
        what, has_head = 'backbone and head', True
    if task == 'det' and (detector := _trained_head(checkpoint)):
        what, has_head = _WHOLE_DETECTOR, True
    fact = f'{what} from {address} ({report.layout} layout)'
    return InitialWeights(
        address, has_head, report.origin, report.round_to, fact, detector=detector
    )


def _has_segmentation_head(checkpoint: Mapping[str, Any], layout: str) -> bool:
    state_dict, _ = unwrap(checkpoint)
    parts = find_parts(state_dict) if layout == 'tensorflow' else own_parts(state_dict, None)
    return parts is not None and 'decode_head.image_pool.conv.conv.weight' in parts.tensors


def _trained_head(checkpoint: Mapping[str, Any]) -> TrainedHead | None:
    """Return the head of a detector that was trained by a new config, from its own config."""
    meta = checkpoint.get('meta')
    config = parse_config(meta.get('cfg')) if isinstance(meta, Mapping) else {}
    model = config.get('model') or {}
    backbone, neck, head = (model.get(part) or {} for part in ('backbone', 'neck', 'bbox_head'))
    shapes = (head.get('anchor_generator') or {}).get('shapes')
    kinds = neck.get('type'), head.get('type')
    if kinds != (NECK, HEAD) or tuple(backbone.get('out_indices') or ()) != TAPS or not shapes:
        return None
    shapes = [[tuple(shape) for shape in level] for level in shapes]
    return TrainedHead(shapes, neck['out_channels'])
