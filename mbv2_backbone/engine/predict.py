"""Predicting on files: pictures with boxes or masks, and one `predictions.json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn

from ..deploy.fold import folded
from ..deploy.openmmlab import with_exported
from ..deploy.packed import pack_convolutions
from ..deploy.runtimes import is_exported
from ..errors import UserError
from .background import in_background
from .checkpoint import find_checkpoint, load_weights
from .coco_rows import CocoRows, RowFile
from .config import inner_dataset, load_config, task_of, type_name
from .drawing import build_painter
from .inputs import Source, find_sources, image_ids
from .machine import detect_machine, to_memory_format
from .prediction_run import PredictionRun, Summary
from .video import check_can_write

if TYPE_CHECKING:
    from ..features.inspector import FeatureInspector

K = TypeVar('K')
_IMAGE_LOADERS = ('LoadImageFromFile', 'LoadImageAsAnnotated')
_AHEAD = 4  # images that are decoded, and predictions that are made, before they are asked for


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
        is_file = is_exported(checkpoint)
        source = with_exported(cfg, checkpoint) if is_file else cfg
        model = build_model(source, checkpoint)
        self.model = (model if is_file else folded(model, strict=False)).to(machine.device)
        to_memory_format(self.model, machine)
        if machine.device == 'cpu':
            pack_convolutions(self.model)
        self.pipeline = array_pipeline(source)
        self.painter = build_painter(cfg, self.task, score_thr=score_thr)
        self.rows = CocoRows(self.painter.box_classes, self.painter.classes, score_thr=score_thr)
        print(machine)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[BaseDataElement]:
        """Predict on images `(H, W, 3)` uint8 BGR; one mmdet or mmseg data sample for each."""
        packed = [self.pipeline(dict(img=image, img_id=i)) for i, image in enumerate(images)]
        return self.model.test_step(pseudo_collate(packed))

    def stream(
        self, items: Iterable[tuple[K, np.ndarray]], batch_size: int
    ) -> Iterator[tuple[K, np.ndarray, BaseDataElement]]:
        """Predict on images with a key each, while more of them are made and results are used."""
        samples = self._in_batches(in_background(items, ahead=_AHEAD), batch_size)
        return in_background(samples, ahead=_AHEAD)

    def _in_batches(
        self, items: Iterator[tuple[K, np.ndarray]], batch_size: int
    ) -> Iterator[tuple[K, np.ndarray, BaseDataElement]]:
        while batch := list(islice(items, batch_size)):
            samples = self([image for _, image in batch])
            for (key, image), sample in zip(batch, samples, strict=True):
                yield key, image, sample


def predict(
    config: str,
    checkpoint: str,
    inputs: Sequence[str],
    *,
    out: str,
    score_thr: float = 0.3,
    batch_size: int | None = None,
    draw: bool = True,
    features: bool = False,
    cfg_options: Sequence[str] | None = None,
) -> Summary:
    """Predict on images, folders, globs and videos.

    Below `out` come the pictures (`<name>.jpg`, videos as `<name>.mp4`), for segmentation the
    label maps (`masks/<name>.png`), and `predictions.json`.

    Args:
        config: Path of the config.
        checkpoint: Path of the checkpoint, which must cover the whole model, or of an exported
            file; `best` or `last` of the config's work folder.
        inputs: Files, folders and glob patterns.
        out: Output folder.
        score_thr: Boxes below it are neither drawn nor written; in [0, 1].
        batch_size: Images at a time; by default 1 for segmentation alone, whose images differ in
            size, else 8.
        draw: Whether pictures are written.
        features: Whether `<name>.taps.png` and `<name>.classes.png` show what the backbone
            computes for each image.
        cfg_options: `key=value` overrides of the config.

    Raises:
        UserError: If the config, the checkpoint or an input is not what it must be, no input can be
            read, or PyAV is missing to write a video.
    """
    sources = find_sources(inputs)
    if features:
        _check_features(checkpoint, sources)
    if draw and any(source.is_video for source in sources):
        check_can_write()
    cfg = load_config(config, cfg_options)
    checkpoint = find_checkpoint(checkpoint, cfg.work_dir)
    predictor = FilePredictor(cfg, checkpoint, score_thr=score_thr)
    Path(out).mkdir(parents=True, exist_ok=True)
    stills = [source for source in sources if not source.is_video]
    ids = image_ids(stills)
    next_id = max(ids.values(), default=-1) + 1
    with RowFile(Path(out, 'predictions.json')) as rows:
        run = PredictionRun(
            predictor,
            Path(out),
            rows,
            batch_size=batch_size or (1 if predictor.task == 'seg' else 8),
            draw=draw,
            inspector=_inspector(cfg, checkpoint, score_thr) if features else None,
        )
        run.predict_stills(stills, ids)
        for source in sources:
            if source.is_video:
                next_id += run.predict_video(source, next_id)
        return run.finish()


def _check_features(checkpoint: str, sources: Sequence[Source]) -> None:
    if is_exported(checkpoint):
        raise UserError(
            f'--features looks into the network, which an exported file hides: give the '
            f'checkpoint (.pth) that {checkpoint} was exported from'
        )
    videos = [source.path for source in sources if source.is_video]
    if videos:
        raise UserError(f'--features is for images; leave out the video {videos[0]}')


def _inspector(cfg: Config, checkpoint: str, score_thr: float) -> FeatureInspector:
    from ..features.inspector import FeatureInspector

    return FeatureInspector(cfg, checkpoint, score_thr=score_thr)


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
    steps = [dict(step) for step in inner_dataset(cfg.test_dataloader.dataset).pipeline]
    if type_name(steps[0]) not in _IMAGE_LOADERS:
        raise UserError(
            f'the test pipeline must begin with LoadImageFromFile, got {steps[0]["type"]}; '
            f'predict.py puts the images of its own inputs there'
        )
    loaders = ('LoadAnnotations', 'LoadLabelMap')
    steps = [step for step in steps[1:] if not type_name(step).endswith(loaders)]
    return Compose([dict(type='LoadImageFromNDArray'), *steps])
