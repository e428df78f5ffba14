"""Read from a config's test pipeline how images are resized and padded, for a fixed-size export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from ...common.messages import UserError
from ...deploy.metadata import InputRules
from ..configs.read import RESIZES, inner_dataset, type_name

Size = tuple[int, int]
_LOADING_TRUTH = ('LoadAnnotations', 'LoadLabelMap', 'LoadImageLabel')
_LOADING = ('LoadImageFromFile', 'LoadImageAsAnnotated', *_LOADING_TRUTH)
_PACKING = ('PackDetInputs', 'PackSegInputs', 'FastPackSegInputs', 'PackClassInputs')


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of an export, `(height, width)` in pixels.

    Attributes:
        rules: How an image is resized and padded to the input size of the file.
        resized_size: The size that the file resizes it to.
        network_size: The size that the file pads that to, right and bottom; the network's input.
    """

    rules: InputRules
    resized_size: Size
    network_size: Size

    @property
    def input_size(self) -> Size:
        """Size of the file's input image."""
        return self.rules.input_size


def read_geometry(cfg: Config, size: Size | None = None) -> Geometry:
    """Find the sizes that result from a config's test pipeline.

    Args:
        cfg: The config.
        size: `(height, width)` of the file's input images. By default the size that the
            pipeline resizes or the preprocessor pads to.

    Raises:
        UserError: If the size cannot be determined, or the pipeline has an unknown step.
    """
    steps = list(inner_dataset(cfg.test_dataloader.dataset).pipeline)
    if view := next((step for step in steps if type_name(step) == 'CentreView'), None):
        return _of_view(view, steps, size)
    resize = _resize_step(steps)
    padded, divisor = _padding(cfg)
    scale = tuple(resize['scale']) if resize else None
    keeps_ratio = resize is not None and resize.get('keep_ratio', False)
    if size is None and padded is not None and (resize is None or keeps_ratio):
        within = (max(scale), min(scale)) if scale else None
        rules = InputRules(input_size=padded, fit='pad', within=within, pad_value=_pad_colour(cfg))
        return Geometry(rules=rules, resized_size=padded, network_size=padded)
    if size is None and resize is None:
        raise UserError(
            'the test pipeline has no Resize, so the export needs a size: --size HEIGHT WIDTH'
        )
    if size is None and keeps_ratio:
        raise UserError(
            f'the test pipeline keeps the ratio of an image within {scale}, so that the size '
            f'differs from image to image; choose one: --size HEIGHT WIDTH'
        )
    size = tuple(size or scale[::-1])
    resized = size
    if keeps_ratio:
        factor = min(max(scale) / max(size), min(scale) / min(size))
        resized = tuple(int(side * factor + 0.5) for side in size)
    elif resize is not None:
        resized = scale[::-1]
    network = padded or tuple(-(-side // divisor) * divisor for side in resized)
    if network[0] < resized[0] or network[1] < resized[1]:
        raise UserError(
            f'an image of {size} is resized to {resized}, more than the {network} that the config '
            f'pads to; give a smaller --size, or override model.data_preprocessor.test_cfg'
        )
    is_legacy = resize is not None and type_name(resize) == 'LegacyResize'
    if is_legacy and resized != size:
        raise UserError(
            f'LegacyResize is done before the file, whose input is {resized}; leave out --size'
        )
    rules = InputRules(
        input_size=size,
        fit='stretch',
        within=None,
        pad_value=(0, 0, 0),
        interpolation='legacy' if is_legacy else 'bilinear',
    )
    return Geometry(rules=rules, resized_size=resized, network_size=network)


def _of_view(view: dict, steps: list, size: Size | None) -> Geometry:
    """Return the geometry of a classifier that sees the middle of an image."""
    if size is not None:
        raise UserError(
            'a classifier that sees the middle of an image has the size of CentreView in the test '
            'pipeline of the config: change it there, and leave out --size'
        )
    if _resize_step([step for step in steps if step is not view]):
        raise UserError(
            'the export knows one Resize or one CentreView in a test pipeline, not both'
        )
    rule = TRANSFORMS.build(view).rule
    sides = (rule.pop('size'),) * 2
    rules = InputRules(input_size=sides, fit='centre', within=None, pad_value=(0, 0, 0), **rule)
    return Geometry(rules=rules, resized_size=sides, network_size=sides)


def _resize_step(steps: list) -> dict | None:
    """Return a pipeline's only `Resize`, if it has one."""
    names = [type_name(step) for step in steps]
    unknown = [name for name in names if name not in (*_LOADING, *_PACKING, *RESIZES)]
    resizes = [step for step, name in zip(steps, names, strict=True) if name in RESIZES]
    if unknown or len(resizes) > 1:
        raise UserError(
            f'the export knows test pipelines of loading, at most one Resize and packing; this '
            f'one is {" -> ".join(names)}'
        )
    if not resizes:
        return None
    if resizes[0].get('scale') is None or np.size(resizes[0]['scale']) != 2:
        raise UserError(f'Resize needs scale=(width, height) to be exported, got {resizes[0]}')
    if resizes[0].get('interpolation', 'bilinear') != 'bilinear':
        raise UserError(f'only bilinear resizing is exported, got {resizes[0]}')
    return resizes[0]


def _padding(cfg: Config) -> tuple[Size | None, int]:
    """Return the size that test images are padded to, if it is fixed, and its divisor."""
    preprocessor = cfg.model.get('data_preprocessor') or {}
    test_cfg = preprocessor.get('test_cfg') or {}
    size = test_cfg.get('size')
    divisor = test_cfg.get('size_divisor') or preprocessor.get('pad_size_divisor') or 1
    return (tuple(size) if size is not None else None), divisor


def _pad_colour(cfg: Config) -> tuple[int, int, int]:
    """Return the RGB nearest to the config's padding, which is applied after normalisation."""
    preprocessor = cfg.model.data_preprocessor
    value = np.array(preprocessor.get('pad_val', 0), np.float64)
    colour = value * (preprocessor.get('std') or 1) + (preprocessor.get('mean') or 0)
    colour = np.broadcast_to(colour.round().clip(0, 255).astype(int), 3)
    return tuple((colour if preprocessor.get('bgr_to_rgb') else colour[::-1]).tolist())
