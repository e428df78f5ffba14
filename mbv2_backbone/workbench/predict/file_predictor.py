"""A model with its test pipeline, for images instead of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

from ...common.messages import UserError
from ...deploy.runtimes import is_exported
from ...weights.whole_model import build_model
from ..checks.class_order import check_class_order
from ..configs.machine import detect_machine, to_memory_format
from ..configs.plan import apply_steps
from ..configs.read import inner_dataset, type_name
from ..configs.summary import summarise
from ..drawing.painter import painter_of
from .background import in_background
from .coco_rows import CocoRows
from .exported_model import exported_steps
from .fold import folded_for

K = TypeVar('K')

_IMAGE_LOADERS = ('LoadImageFromFile', 'LoadImageAsAnnotated')

_AHEAD = 4  # images that are decoded, and predictions that are made, in advance


class FilePredictor:
    """A model with its test pipeline, for arrays instead of a dataset.

    Args:
        cfg: The config.
        checkpoint: Path of a checkpoint that covers the whole model, or of an exported file.
        score_thr: Boxes below it are neither drawn nor written.

    Attributes:
        input_wh: Width and height that the pipeline resizes to; `None` if it does not.
    """

    def __init__(self, cfg: Config, checkpoint: str, *, score_thr: float) -> None:
        machine = detect_machine(amp=False)
        summary = summarise(cfg)
        self.task = summary.task
        is_file = is_exported(checkpoint)
        source = apply_steps(cfg, exported_steps(checkpoint, summary)) if is_file else cfg
        if is_file:
            self.model = MODELS.build(source.model).eval().to(machine.device)
            to_memory_format(self.model, machine)
        else:
            model, meta = build_model(cfg, checkpoint)
            check_class_order(checkpoint, meta, summary)
            self.model = folded_for(model, machine)
        self.pipeline = array_pipeline(source)
        sizes = [t.scale for t in self.pipeline.transforms if getattr(t, 'scale', None)]
        self.input_wh: tuple[int, int] | None = tuple(sizes[0]) if sizes else None
        self.painter = painter_of(summary, score_thr)
        names = (self.painter.boxes.names, self.painter.masks.names, self.painter.images.names)
        self.rows = CocoRows(*names, score_thr=score_thr)
        print(machine)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[BaseDataElement]:
        """Predict on images `(H, W, 3)` uint8 BGR; one data sample for each."""
        packed = [self.pipeline(dict(img=image, img_id=i)) for i, image in enumerate(images)]
        return self.model.test_step(pseudo_collate(packed))

    def stream(
        self, items: Iterable[tuple[K, np.ndarray]], batch_size: int
    ) -> Iterator[tuple[K, np.ndarray, BaseDataElement]]:
        """Predict on images with a key each, while more images are made and results are used."""
        samples = self._in_batches(in_background(items, ahead=_AHEAD), batch_size)
        return in_background(samples, ahead=_AHEAD)

    def _in_batches(
        self, items: Iterator[tuple[K, np.ndarray]], batch_size: int
    ) -> Iterator[tuple[K, np.ndarray, BaseDataElement]]:
        while batch := list(islice(items, batch_size)):
            samples = self([image for _, image in batch])
            for (key, image), sample in zip(batch, samples, strict=True):
                yield key, image, sample


def array_pipeline(cfg: Config) -> Compose:
    """Return the config's test pipeline for arrays: no files read, no annotations."""
    steps = [dict(step) for step in inner_dataset(cfg.test_dataloader.dataset).pipeline]
    if type_name(steps[0]) not in _IMAGE_LOADERS:
        raise UserError(
            f'the test pipeline must begin with LoadImageFromFile, got {steps[0]["type"]}; '
            f'predict.py puts the images of its own inputs there'
        )
    loaders = ('LoadAnnotations', 'LoadLabelMap', 'LoadImageLabel')
    steps = [step for step in steps[1:] if not type_name(step).endswith(loaders)]
    is_for_classes = type_name(steps[-1]) == 'PackClassInputs'
    loader = 'ImageFromArray' if is_for_classes else 'LoadImageFromNDArray'
    return Compose([dict(type=loader), *steps])
