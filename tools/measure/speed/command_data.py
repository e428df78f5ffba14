"""Images, annotations, weights and configs that whole commands run on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import datasets_of, task_of
from mbv2_backbone.workbench.predict.file_predictor import FilePredictor, array_pipeline

from .inputs import Size, random_image, random_mask
from .models import build_random, class_counts, input_size
from .peers import peer_config, stock_config, toolbox_folder
from .prediction import prepare_random

VOC_CONFIG = '_base_/datasets/pascal_voc12.py'
DET_SIZE = (480, 640)
PHOTO_SIZE = (3024, 4032)  # 12 megapixels
VOC_SIZES = ((375, 500), (375, 500), (500, 375), (333, 500))
DISTINCT, DISTINCT_PHOTOS = 48, 6
_CANDIDATES = 300
_BOXES = 7
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class Prepared:
    """What the commands read.

    Attributes:
        options: `key=value` of our config, for the drawn data.
        checkpoint: Our weights.
        peer_config: The peer's.
        peer_checkpoint: The peer's; the same file if the models are alike.
        peer_tools: The peer's folder of tools.
        images: The folder of the images.
        notes: What a reader must know.
    """

    options: tuple[str, ...]
    checkpoint: Path
    peer_config: Path
    peer_checkpoint: Path
    peer_tools: Path
    images: Path
    notes: tuple[str, ...]


def prepare_command(
    cfg: Config, peer: str, folder: Path, *, num_images: int, is_test: bool
) -> Prepared:
    """Draw images and annotations, and write weights and configs of ours and of a peer.

    Args:
        cfg: Our config, of a detector or a segmentor.
        peer: `mmdet` or `mmseg`.
        folder: Where all of it goes.
        num_images: Number of images.
        is_test: Whether they have annotations; else a detector gets photos of 12 megapixels.
    """
    is_det = task_of(cfg) == 'det'
    sizes = [DET_SIZE] if is_det and is_test else [PHOTO_SIZE] if is_det else list(VOC_SIZES)
    distinct = min(num_images, DISTINCT_PHOTOS if sizes == [PHOTO_SIZE] else DISTINCT)
    rng = np.random.default_rng(0)
    images = [random_image(rng, sizes[i % len(sizes)]) for i in range(distinct)]
    names = _write_images(folder / 'images', images, num_images)
    theirs = peer_config(peer, cfg, input_size(cfg))
    settled_on = images if is_det else [random_image(rng, input_size(cfg)) for _ in range(4)]
    checkpoint, peer_checkpoint = _weights(cfg, theirs, peer, folder, settled_on)
    options: tuple[str, ...] = ()
    if is_det and is_test:
        boxes = _truth(cfg, str(checkpoint), images, rng)
        path = _write_coco(folder / 'truth.json', cfg, images, boxes, num_images)
        options = _use_coco(theirs, folder, path, cfg.get('classes'))
    elif is_test:
        _write_masks(
            folder, rng, [image.shape[:2] for image in images], class_counts(cfg)[1], names
        )
        options = _use_voc(theirs, folder)
    theirs.dump(folder / f'{peer}.py')
    shapes = ', '.join(dict.fromkeys(f'{w}x{h}' for h, w in sizes))
    same = 'the same weights' if checkpoint == peer_checkpoint else 'weights of its own'
    kilobytes = np.mean([os.path.getsize(folder / 'images' / name) for name in names]) / 1000
    notes = (
        f'{num_images} JPEG files of {shapes}, {kilobytes:,.0f} kB on average; {distinct} of them '
        f'differ, the others are links',
        f'random weights, batch norms settled; {peer} has {same}',
    )
    return Prepared(
        options=options,
        checkpoint=checkpoint,
        peer_config=folder / f'{peer}.py',
        peer_checkpoint=peer_checkpoint,
        peer_tools=toolbox_folder(peer, 'tools'),
        images=folder / 'images',
        notes=notes,
    )


def _write_images(folder: Path, images: Sequence[np.ndarray], count: int) -> list[str]:
    folder.mkdir()
    names = [f'{i:06d}.jpg' for i in range(count)]
    for i, name in enumerate(names):
        if i < len(images):
            options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
            cv2.imwrite(str(folder / name), images[i], options)
        else:
            os.link(folder / names[i % len(images)], folder / name)
    return names


def _weights(
    cfg: Config, theirs: Config, peer: str, folder: Path, images: Sequence[np.ndarray]
) -> tuple[Path, Path]:
    """Write random weights of both; one file, if the peer's load into ours."""
    with DefaultScope.overwrite_default_scope(peer):
        pipeline = array_pipeline(theirs) if peer == 'mmdet' else array_pipeline(cfg)
    peer_path = _save_random(theirs, peer, pipeline, images, folder / f'{peer}.pth')
    try:
        with redirect_stdout(StringIO()):
            FilePredictor(cfg, str(peer_path), score_thr=0.0)
    except UserError:
        return _save_random(cfg, None, array_pipeline(cfg), images, folder / 'ours.pth'), peer_path
    return peer_path, peer_path


def _save_random(cfg, scope, pipeline, images, path: Path) -> Path:
    model = build_random(cfg, scope)
    prepare_random(model, pipeline, images, cfg, _CANDIDATES)
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


def _truth(
    cfg: Config, checkpoint: str, images: Sequence[np.ndarray], rng: np.random.Generator
) -> list[list[tuple]]:
    """Choose some of what a model finds in each image, moved: so its figures are not 0."""
    with redirect_stdout(StringIO()):
        predictor = FilePredictor(cfg, checkpoint, score_thr=0.0)
    chosen = []
    for image in images:
        found = predictor([image])[0].pred_instances
        keep = rng.permutation(min(len(found), 5 * _BOXES))[:_BOXES]
        boxes = found.bboxes[keep].numpy() + rng.normal(0, 2, (len(keep), 4))
        chosen.append(list(zip(boxes.tolist(), found.labels[keep].tolist(), strict=True)))
    return chosen


def _write_coco(path: Path, cfg: Config, images, boxes, count: int) -> Path:
    height, width = DET_SIZE
    listed = [
        dict(id=i, file_name=f'{i:06d}.jpg', width=width, height=height) for i in range(count)
    ]
    annotations = []
    for i in range(count):
        for (x1, y1, x2, y2), label in boxes[i % len(images)]:
            x1, y1 = max(x1, 0), max(y1, 0)
            box = [x1, y1, min(x2, width) - x1, min(y2, height) - y1]
            if min(box[2:]) > 1:
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=i,
                        category_id=label + 1,
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=0,
                    )
                )
    categories = [dict(id=i, name=name) for i, name in enumerate(_classes(cfg), 1)]
    document = dict(images=listed, annotations=annotations, categories=categories)
    path.write_text(json.dumps(document), encoding='utf-8')
    return path


def _classes(cfg: Config) -> Sequence[str]:
    from mmdet.datasets import CocoDataset

    return cfg.get('classes') or CocoDataset.METAINFO['classes']


def _use_coco(
    theirs: Config, folder: Path, path: Path, classes: Sequence[str] | None
) -> tuple[str, ...]:
    """Let the peer's test data be the drawn ones, in place; return the options for ours."""
    data = dict(data_root=f'{folder}/', ann_file=path.name, data_prefix=dict(img='images/'))
    metainfo = dict(metainfo=dict(classes=tuple(classes))) if classes else {}
    datasets_of(theirs, ('test',))[0].update(**data, **metainfo)
    theirs.test_evaluator.ann_file = str(path)
    return (*_as_options(data), f'test_evaluator.ann_file={path}')


def _as_options(values: dict, start: str = 'test_dataloader.dataset') -> list[str]:
    options = []
    for key, value in values.items():
        inner = isinstance(value, dict)
        options += _as_options(value, f'{start}.{key}') if inner else [f'{start}.{key}={value}']
    return options


def _write_masks(
    folder: Path, rng: np.random.Generator, sizes: Sequence[Size], num_classes: int, names
) -> None:
    (folder / 'masks').mkdir()
    for i, name in enumerate(names):
        path = folder / 'masks' / Path(name).with_suffix('.png')
        if i < len(sizes):
            cv2.imwrite(str(path), random_mask(rng, sizes[i], num_classes))
        else:
            first = Path(names[i % len(sizes)]).with_suffix('.png')
            os.link(folder / 'masks' / first, path)
    listed = '\n'.join(Path(name).stem for name in names)
    (folder / 'val.txt').write_text(listed + '\n', encoding='utf-8')


def _use_voc(theirs: Config, folder: Path) -> tuple[str, ...]:
    """Do as `_use_coco`; the peer has mmseg's own pipeline for VOC."""
    voc = stock_config('mmseg', VOC_CONFIG)
    theirs.test_dataloader, theirs.test_evaluator = voc.test_dataloader, voc.test_evaluator
    theirs.model.data_preprocessor.pop('test_cfg', None)
    prefix = dict(img_path='images/', seg_map_path='masks/')
    data = dict(data_root=f'{folder}/', ann_file='val.txt', data_prefix=prefix)
    datasets_of(theirs, ('test',))[0].update(data)
    return tuple(_as_options(data))
