"""Add test-time augmentation (flips and scales) to a config."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from mmengine.config import Config, ConfigDict

from ...common.messages import UserError
from .plan import step
from .read import RESIZES, inner_dataset, task_of, type_name

# Keys of both toolboxes, and the padding that `PadToGrid` adds; packing skips missing keys.
META_KEYS = (
    'img_id', 'img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'padding_size',
    'scale_factor', 'flip', 'flip_direction', 'reduce_zero_label',
)  # fmt: skip


@step('test-time augmentation', 'Predictions of several views of each image are merged.')
def use_tta(cfg: Config, scales: Sequence[float] = ()) -> None:
    """Make a test predict on augmented images and merge the predictions.

    `FusedDetTTAModel` averages the boxes of one object over all views; mmseg's `SegTTAModel`
    averages the probabilities of each pixel, `ClassTTAModel` those of the image.

    Args:
        cfg: Its config; that of a joint model needs a `tta_model`.
        scales: Sizes relative to that of the config's test images, each also flipped. Without
            scales the config's own `tta_pipeline` is used or, if it has none, only a flip.

    Raises:
        UserError: If a scale is not positive, or there is no way to merge or to resize.
    """
    task, dataset = task_of(cfg), inner_dataset(cfg.test_dataloader.dataset)
    if 'tta_model' not in cfg:
        if task == 'joint':
            raise UserError(
                '--tta cannot merge boxes and masks at once: leave it out, or write tta_model, a '
                'class that does, and tta_pipeline into the config'
            )
        merger = dict(seg='mmseg.SegTTAModel', cls='ClassTTAModel')
        cfg.tta_model = _box_merger(cfg) if task == 'det' else dict(type=merger[task])
    if scales or 'tta_pipeline' not in cfg:
        wrong = [scale for scale in scales if scale <= 0]
        if wrong:
            raise UserError(f'--tta-scales must be above 0, got {wrong[0]:g}')
        pipeline = deepcopy(dataset.pipeline)
        padding = None
        if any(scale != 1 for scale in scales):
            fit = dict(det=_fix_priors, joint=_fix_priors, seg=_free_padding).get(task)
            padding = fit and fit(cfg, pipeline)
        cfg.tta_pipeline = augmented(pipeline, scales or (1,), padding)
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def augmented(pipeline: list[dict], scales: Sequence[float], padding: dict | None) -> list[dict]:
    """Make a test pipeline that gives each image at each scale, unflipped and flipped.

    Args:
        pipeline: From loading the image to packing.
        scales: Relative to the size that the pipeline gives; a single 1 keeps the size.
        padding: A transform that pads each view, or `None`.

    Returns:
        A pipeline that ends with mmcv's `TestTimeAug`. The ground truth is loaded after the
        flip, so that it is not flipped.

    Raises:
        UserError: If there are scales and the pipeline resizes in a way that cannot be scaled.
    """
    *steps, pack = pipeline
    keys = (*pack.get('meta_keys', ()), *META_KEYS)
    pack = dict(pack, meta_keys=tuple(dict.fromkeys(keys)))
    truth = [one for one in steps if type_name(one) in ('LoadAnnotations', 'LoadLabelMap')]
    steps = [one for one in steps if one not in truth]
    first = len(steps)
    if list(scales) != [1]:
        sized = (*RESIZES, 'CentreView')
        first = next((i for i, one in enumerate(steps) if type_name(one) in sized), first)
    views = [[one] for one in steps[first:]]
    if list(scales) != [1]:
        resize = steps[first] if first < len(steps) else dict(type='Resize', scale_factor=1.0)
        views[:1] = [[_resized(resize, scale, pipeline) for scale in scales]]
    views.append([dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)])
    views += [[one] for one in (*([padding] if padding else []), *truth, pack)]
    return [*steps[:first], dict(type='TestTimeAug', transforms=views)]


def _resized(resize: dict, scale: float, pipeline: list[dict]) -> dict:
    if type_name(resize) == 'CentreView':
        sides = {key: round(resize[key] * scale) for key in ('size', 'resize')}
        return resize | {key: max(1, side) for key, side in sides.items()}
    size, factor = resize.get('scale'), resize.get('scale_factor')
    if any(type_name(one) in ('Pad', 'RandomResize', 'ResizeShortestEdge') for one in pipeline):
        raise UserError('--tta-scales needs a test pipeline with Resize, and without Pad')
    if size is not None:
        return dict(resize, scale=tuple(round(side * scale) for side in _sides(size)))
    if isinstance(factor, (int, float)):
        return dict(resize, scale_factor=factor * scale)
    raise UserError(f'--tta-scales needs a Resize with scale or scale_factor, got {resize}')


def _free_padding(cfg: Config, _pipeline: list[dict]) -> dict | None:
    """Remove a fixed padding size from the preprocessor; return a transform for any scale."""
    from ...seg import padding  # noqa: F401  (registers PadToGrid)

    preprocessor = cfg.model.get('data_preprocessor') or {}
    size = (preprocessor.get('test_cfg') or {}).get('size')
    if size is None:
        return None
    preprocessor.test_cfg = None
    divisor = cfg.model.backbone.get('output_stride', 32)
    mean = list(preprocessor.get('mean') or (0, 0, 0))
    return dict(
        type='PadToGrid',
        divisor=divisor,
        remainder=size[0] % divisor if size[0] % divisor == size[1] % divisor else 0,
        pad_val=mean[::-1] if preprocessor.get('bgr_to_rgb') else mean,
    )


def _fix_priors(cfg: Config, pipeline: list[dict]) -> None:
    """Keep the priors' size in pixels at every scale, because the network learned that size."""
    head = cfg.model.bbox_head
    priors = head.get('anchor_generator') or dict(type='SSDLitePriorGenerator')
    if type_name(priors) != 'SSDLitePriorGenerator' or priors.get('base_side'):
        return
    resize = next((one for one in pipeline if type_name(one) in RESIZES), {})
    if resize.get('keep_ratio') or 'scale' not in resize:
        raise UserError(
            '--tta-scales: priors follow the input, and the test pipeline gives inputs of several '
            'sizes; set model.bbox_head.anchor_generator.base_side, or resize to one size'
        )
    head.anchor_generator = dict(priors, base_side=min(_sides(resize['scale'])))


def _sides(size: int | Sequence[int]) -> Sequence[int]:
    return (size, size) if isinstance(size, int) else size


def _box_merger(cfg: Config) -> dict:
    from ...det import tta  # noqa: F401  (registers FusedDetTTAModel)

    test_cfg = cfg.model.get('test_cfg') or {}
    nms = deepcopy(test_cfg.get('nms', dict(type='nms', iou_threshold=0.5)))
    limit = test_cfg.get('max_per_img', 100)
    return dict(type='FusedDetTTAModel', tta_cfg=dict(nms=nms, max_per_img=limit))
