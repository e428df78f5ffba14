"""Predicting on files: pictures with boxes or masks, and one `predictions.json`."""

from __future__ import annotations

import json
import os.path as osp
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from mmengine.utils import is_list_of
from torch import nn

from ..data.layouts import write_palette_png
from ..deploy.fold import folded
from ..deploy.openmmlab import with_exported
from ..deploy.packed import pack_convolutions
from ..deploy.runtimes import is_exported
from ..errors import UserError
from ..progress import track
from .checkpoint import load_weights
from .config import dataset_meta, load_config, task_of
from .drawing import Painter, box_visualizer, mask_labels
from .inputs import Source, Video, find_sources, image_ids, read_image
from .machine import detect_machine, to_memory_format
from .palettes import mask_meta

_IMAGE_LOADERS = ('LoadImageFromFile', 'LoadImageAsAnnotated')


@dataclass
class Summary:
    """What a prediction run did.

    Attributes:
        predictions: Path of `predictions.json`.
        num_images: Images and video frames predicted on.
        num_predictions: Rows in `predictions.json`.
        unreadable: Files that could not be read.
        video_fps: Frames a second reached, by video.
    """

    predictions: str
    num_images: int = 0
    num_predictions: int = 0
    unreadable: list[str] = field(default_factory=list)
    video_fps: dict[str, float] = field(default_factory=dict)


class FilePredictor:
    """A model with its test pipeline, for arrays in place of a dataset.

    Args:
        cfg: The config.
        checkpoint: Path of a checkpoint that covers the whole model, or of an exported file.
        score_thr: Boxes below it are neither drawn nor written.
    """

    def __init__(self, cfg: Config, checkpoint: str, *, score_thr: float) -> None:
        machine = detect_machine(amp=False)
        self.task = task_of(cfg)
        self.score_thr = score_thr
        self.classes = dataset_meta(cfg)['classes']
        is_file = is_exported(checkpoint)
        source = with_exported(cfg, checkpoint) if is_file else cfg
        model = build_model(source, checkpoint)
        self.model = (model if is_file else folded(model, strict=False)).to(machine.device)
        to_memory_format(self.model, machine)
        if machine.device == 'cpu':
            pack_convolutions(self.model)
        self.pipeline = array_pipeline(source)
        masks = dict(classes=(), palette=()) if self.task == 'det' else mask_meta(cfg)
        self.painter = Painter(
            masks['classes'],
            masks['palette'],
            box_visualizer=None if self.task == 'seg' else box_visualizer(cfg),
            score_thr=score_thr,
        )
        # One id for a class of boxes and masks; the background of masks comes last.
        self.category_ids = dict(zip(self.classes, coco_category_ids(self.classes), strict=True))
        for name in masks['classes']:
            self.category_ids.setdefault(name, max(self.category_ids.values()) + 1)
        print(machine)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[BaseDataElement]:
        """Predict on images `(H, W, 3)` uint8 BGR; one mmdet or mmseg data sample for each."""
        packed = [self.pipeline(dict(img=image, img_id=i)) for i, image in enumerate(images)]
        return self.model.test_step(pseudo_collate(packed))

    def rows(self, sample: BaseDataElement, image_id: int, file_name: str) -> list[dict]:
        """Return the rows of `predictions.json` of one image, in COCO's result format."""
        rows: list[dict] = []
        if 'pred_instances' in sample:
            rows += self._box_rows(sample)
        if 'pred_sem_seg' in sample:
            rows += self._mask_rows(sample)
        return [dict(image_id=image_id, file_name=file_name) | row for row in rows]

    def _box_rows(self, sample: BaseDataElement) -> Iterator[dict]:
        found = sample.pred_instances.cpu()
        found = found[found.scores >= self.score_thr]
        for (x1, y1, x2, y2), score, label in zip(
            found.bboxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        ):
            box = [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)]
            yield self._category(self.classes[label]) | dict(bbox=box, score=round(score, 4))

    def _mask_rows(self, sample: BaseDataElement) -> Iterator[dict]:
        from pycocotools import mask as coco_mask

        labels = mask_labels(sample, 'pred_sem_seg')
        for label in np.unique(labels).tolist():
            code = coco_mask.encode(np.asfortranarray(labels == label, dtype=np.uint8))
            code['counts'] = code['counts'].decode()
            yield self._category(self.painter.classes[label]) | dict(segmentation=code)

    def _category(self, name: str) -> dict:
        return dict(category_id=self.category_ids[name], category_name=name)


def predict(
    config: str,
    checkpoint: str,
    inputs: Sequence[str],
    *,
    out: str,
    score_thr: float = 0.3,
    batch_size: int | None = None,
    draw: bool = True,
    cfg_options: Sequence[str] | None = None,
) -> Summary:
    """Predict on images, folders, globs and videos.

    Below `out` come the pictures (`<name>.jpg`, videos as `<name>.mp4`), for segmentation the
    label maps (`masks/<name>.png`), and `predictions.json`.

    Args:
        config: Path of the config.
        checkpoint: Path of the checkpoint, which must cover the whole model, or of an exported
            file.
        inputs: Files, folders and glob patterns.
        out: Output folder.
        score_thr: Boxes below it are neither drawn nor written; in [0, 1].
        batch_size: Images at a time; by default 1 for segmentation alone, whose images differ in
            size, else 8.
        draw: Whether pictures are written.
        cfg_options: `key=value` overrides of the config.

    Raises:
        UserError: If the config, the checkpoint or an input is not what it must be, or no input
            can be read.
    """
    sources = find_sources(inputs)
    cfg = load_config(config, cfg_options)
    predictor = FilePredictor(cfg, checkpoint, score_thr=score_thr)
    batch_size = batch_size or (1 if predictor.task == 'seg' else 8)
    summary = Summary(predictions=osp.join(out, 'predictions.json'))
    Path(out).mkdir(parents=True, exist_ok=True)

    stills = [source for source in sources if not source.is_video]
    ids = image_ids(stills)
    rows: list[dict] = []
    for source, image, sample in _predict_stills(predictor, stills, batch_size, summary):
        rows += predictor.rows(sample, ids[source.path], source.path)
        _write(predictor, Path(out), source.name, image, sample, draw=draw)
    next_id = max(ids.values(), default=-1) + 1
    for source in sources:
        if source.is_video:
            before = summary.num_images
            rows += _predict_video(predictor, source, out, next_id, summary, draw=draw)
            next_id += summary.num_images - before
    if not summary.num_images:
        raise UserError(f'none of the inputs could be read: {", ".join(summary.unreadable[:5])}')
    summary.num_predictions = len(rows)
    with open(summary.predictions, 'w') as file:
        json.dump(rows, file)
    return summary


def _predict_stills(
    predictor: FilePredictor, sources: Sequence[Source], batch_size: int, summary: Summary
) -> Iterator[tuple[Source, np.ndarray, BaseDataElement]]:
    batch: list[tuple[Source, np.ndarray]] = []
    last = sources[-1] if sources else None
    for source in track(sources, 'Predicting', unit='images'):
        image = read_image(source.path)
        if image is None:
            summary.unreadable.append(source.path)
        else:
            batch.append((source, image))
        if batch and (len(batch) == batch_size or source is last):
            samples = predictor([image for _, image in batch])
            summary.num_images += len(batch)
            for (done, image), sample in zip(batch, samples, strict=True):
                yield done, image, sample
            batch = []


def _predict_video(
    predictor: FilePredictor,
    source: Source,
    out: str,
    first_id: int,
    summary: Summary,
    *,
    draw: bool,
) -> list[dict]:
    video = Video(source.path)
    writer, rows, count, begin = None, [], 0, time.perf_counter()
    frames = track(
        video, f'Predicting {source.name}', total=video.num_frames or None, unit='frames'
    )
    for frame in frames:
        sample = predictor([frame])[0]
        found = predictor.rows(sample, first_id + count, source.path)
        rows += [row | dict(frame=count) for row in found]
        count += 1
        if draw:
            picture = predictor.painter.prediction(frame, sample, whole_legend=True)
            if writer is None:
                path = Path(out, f'{source.name}.mp4')
                path.parent.mkdir(parents=True, exist_ok=True)
                size = (picture.shape[1], picture.shape[0])
                writer = cv2.VideoWriter(
                    str(path), cv2.VideoWriter_fourcc(*'mp4v'), video.fps, size
                )
            writer.write(np.ascontiguousarray(picture))
    if writer is not None:
        writer.release()
    summary.num_images += count
    summary.video_fps[source.path] = count / (time.perf_counter() - begin)
    return rows


def _write(
    predictor: FilePredictor,
    out: Path,
    name: str,
    image: np.ndarray,
    sample: BaseDataElement,
    *,
    draw: bool,
) -> None:
    if draw:
        path = out / f'{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), predictor.painter.prediction(image, sample))
    labels = mask_labels(sample, 'pred_sem_seg')
    if labels is not None:
        path = out / 'masks' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_palette_png(path, labels, predictor.painter.palette)


def build_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Build a config's model in eval mode and fill all of it from a checkpoint.

    An exported file, to which `cfg` was fitted by `with_exported`, brings its own weights.
    """
    model = MODELS.build(cfg.model)
    if not is_exported(checkpoint):
        load_weights(model, checkpoint)
    return model.eval()


def array_pipeline(cfg: Config) -> Compose:
    """Return the config's test pipeline for arrays: no files read, no annotations."""
    steps = [dict(step) for step in cfg.test_dataloader.dataset.pipeline]
    kinds = [step['type'] for step in steps]
    if not is_list_of(kinds, str) or kinds[0].rpartition('.')[2] not in _IMAGE_LOADERS:
        raise UserError(
            f'the test pipeline must begin with LoadImageFromFile, got {kinds[0]}; predict.py '
            f'puts the images of its own inputs there'
        )
    loaders = ('LoadAnnotations', 'LoadLabelMap')
    steps = [step for step in steps[1:] if not step['type'].endswith(loaders)]
    return Compose([dict(type='LoadImageFromNDArray'), *steps])


def coco_category_ids(classes: Sequence[str]) -> list[int]:
    """Return the category id of each class: COCO's own for its 80 classes, else from 1."""
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

    official = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta['categories']
    names = {name: i for i, name in enumerate(official) if name not in ('N/A', '__background__')}
    if set(classes) == set(names):
        return [names[name] for name in classes]
    return list(range(1, len(classes) + 1))
