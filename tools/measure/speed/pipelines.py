"""The data pipeline of training, from file to packed tensor, on one core."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.checks.before_run import check_data
from mbv2_backbone.workbench.configs.read import datasets_of, task_of, type_name
from mbv2_backbone.workbench.configs.summary import summarise

from .inputs import BOXES_PER_IMAGE, random_boxes, random_image, random_mask
from .models import class_counts, input_size, quiet, set_size
from .peers import MMDET_CONFIG, stock_config
from .timing import Call

COCO_SIZE = (480, 640)
VOC_SIZE = (375, 500)  # its masks are palette files
_JPEG_QUALITY = 90


def pipeline_calls(
    cfg: Config, peers: Sequence[str], infos: Sequence[dict]
) -> tuple[dict[str, Call], list[str]]:
    """Prepare calls that each load all files once.

    Args:
        cfg: Our config; its training pipeline is timed.
        peers: `mmdet` for boxes: the pipeline of its own SSDLite config at our size. `mmseg` for
            masks: the steps of mmseg that ours stand for.
        infos: What the dataset knows of each file; see `read_infos` and `draw_infos`.

    Returns:
        The calls by name, ours first, and notes.
    """
    steps = list(datasets_of(cfg, ('train',))[0]['pipeline'])
    calls = {'ours': _over(Compose(steps), infos)}
    notes = []
    if 'mmdet' in peers:
        theirs = stock_config('mmdet', MMDET_CONFIG)
        set_size(theirs, input_size(cfg, training=True))
        with DefaultScope.overwrite_default_scope('mmdet'):
            calls['mmdet'] = _over(Compose(datasets_of(theirs, ('train',))[0]['pipeline']), infos)
        notes.append(f'mmdet runs the training pipeline of its {Path(MMDET_CONFIG).name}')
    if 'mmseg' in peers:
        with DefaultScope.overwrite_default_scope('mmseg'):
            calls['mmseg'] = _over(Compose(stock_seg_steps(steps)), infos)
        notes.append('mmseg runs its own transforms with our settings')
    return calls, notes


def stock_seg_steps(steps: Sequence[dict]) -> list[dict]:
    """Return the steps of mmseg that do what a pipeline of ours does, with its settings."""
    stock: list[dict] = []
    for step in steps:
        kind = type_name(step)
        args = {key: value for key, value in step.items() if key != 'type'}
        if kind == 'RandomResizeCropFlip':
            resize = {k: args[k] for k in ('scale', 'ratio_range', 'keep_ratio') if k in args}
            resize = dict(scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True) | resize
            crop = {k: args[k] for k in ('cat_max_ratio', 'ignore_index') if k in args}
            crop = dict(crop_size=args.get('crop_size', 513), cat_max_ratio=0.75) | crop
            stock += [
                dict(type='RandomResize', **resize),
                dict(type='RandomCrop', **crop),
                dict(type='RandomFlip', prob=args.get('flip_prob', 0.5)),
            ]
        elif kind == 'LoadLabelMap':
            stock.append(dict(type='LoadAnnotations'))
        else:
            stock.append(dict(args, type=kind.removeprefix('Fast')))
    return stock


def _over(pipeline: Compose, infos: Sequence[dict]) -> Call:
    rounds = count()

    def call() -> None:
        np.random.seed(next(rounds))  # in one round all pipelines get the same random numbers
        for info in infos:
            pipeline(deepcopy(info))

    return call


def read_infos(cfg: Config, num_files: int) -> list[dict] | None:
    """Return what the config's training data knows of files evenly spread over it.

    Returns:
        `None` where the data is not there.
    """
    try:
        check_data(summarise(cfg), ('train',))
    except UserError:
        return None
    with quiet():
        dataset = DATASETS.build(dict(datasets_of(cfg, ('train',))[0], pipeline=[]))
    indices = np.unique(np.linspace(0, len(dataset) - 1, num_files).round().astype(int))
    return [dataset.get_data_info(int(i)) for i in indices]


def draw_infos(
    cfg: Config, folder: str, num_files: int, images: str | None = None
) -> tuple[list[dict], str]:
    """Draw boxes and masks for JPEG files, and the files too if none are given.

    Args:
        cfg: The config.
        folder: Where drawn files go.
        num_files: Files at most.
        images: A folder of JPEG files, searched to the bottom; by default they are drawn.

    Returns:
        What a dataset would know of each file, and what the files are.

    Raises:
        UserError: If there is no JPEG file in `images`.
    """
    rng = np.random.default_rng(0)
    size = VOC_SIZE if task_of(cfg) == 'seg' else COCO_SIZE
    if images is None:
        paths = [Path(folder) / f'{i:03d}.jpg' for i in range(num_files)]
        for path in paths:
            options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
            cv2.imwrite(str(path), random_image(rng, size), options)
        what = f'{num_files} generated JPEG files of {size[1]}x{size[0]}'
    else:
        paths = sorted(p for p in Path(images).rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg'))
        if not paths:
            raise UserError(f'no JPEG files below {images}')
        paths = paths[:: max(1, len(paths) // num_files)][:num_files]
        what = f'{len(paths)} JPEG files of {images}, with drawn boxes and masks'
    infos = [_draw_info(cfg, rng, path, Path(folder), i) for i, path in enumerate(paths)]
    kilobytes = np.mean([path.stat().st_size for path in paths]) / 1000
    return infos, f'{what}, {kilobytes:.0f} kB on average'


def _draw_info(cfg: Config, rng: np.random.Generator, path: Path, folder: Path, index: int) -> dict:
    num_classes, num_seg_classes = class_counts(cfg)
    size = cv2.imread(str(path)).shape[:2]
    info = dict(img_path=str(path), img_id=index, height=size[0], width=size[1])
    if num_seg_classes:
        mask_path = folder / f'mask_{index:03d}.png'
        mask = Image.fromarray(random_mask(rng, size, num_seg_classes), 'P')
        mask.putpalette(np.repeat(np.arange(256), 3).tolist())
        mask.save(mask_path)
        info |= dict(
            seg_map_path=str(mask_path), label_map=None, reduce_zero_label=False, seg_fields=[]
        )
    if task_of(cfg) != 'seg':
        boxes = random_boxes(rng, size, int(np.clip(rng.poisson(BOXES_PER_IMAGE), 1, 40)))
        info['instances'] = [
            dict(bbox=box, bbox_label=int(rng.integers(num_classes)), ignore_flag=0)
            for box in boxes.tolist()
        ]
    return info
