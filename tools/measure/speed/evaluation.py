"""Speed of COCO metrics, ours and mmdet's, on generated annotations and detections."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from copy import deepcopy
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.det.metrics import FastCocoMetric, installed_backends
from mbv2_backbone.workbench.configs.read import walk

from .inputs import BOXES_PER_IMAGE, random_boxes
from .models import class_counts, quiet
from .timing import Call

IMAGE_SIZE = (480, 640)


def evaluation_calls(
    cfg: Config, folder: Path, *, num_images: int, detections: int
) -> tuple[dict[str, Call], list[str]]:
    """Prepare the evaluations that are timed; each matches detections and computes COCO's metrics.

    Args:
        cfg: A config with a COCO metric for boxes.
        folder: For the drawn annotation file.
        num_images: Images; COCO's val2017 has 5000.
        detections: Detections in an image.

    Returns:
        The calls by name, ours first, and notes.

    Raises:
        UserError: If the config has no COCO metric.
    """
    num_classes, _ = class_counts(cfg)
    names = [f'class {i}' for i in range(num_classes)]
    metrics = [m for m in walk(cfg.get('val_evaluator')) if 'Coco' in str(m.get('type'))]
    if not metrics or not num_classes:
        raise UserError('`evaluate` needs a config whose val_evaluator is a COCO metric for boxes')
    ann_file, samples = _draw(folder, names, num_images, detections)
    ours = dict(deepcopy(metrics[0]), ann_file=str(ann_file), metric='bbox')
    if ours['type'] in ('CocoMetric', 'mmdet.CocoMetric'):
        ours['type'] = f'mmdet.{FastCocoMetric.__name__}'  # as our tools do
    theirs = dict(type='CocoMetric', ann_file=str(ann_file), metric='bbox')
    calls = {
        'ours': _evaluator(ours, None, names, samples),
        'mmdet': _evaluator(theirs, 'mmdet', names, samples),
    }
    notes = [
        f'{num_images} generated images, {BOXES_PER_IMAGE} boxes and {detections} detections each, '
        f'{num_classes} classes; ours is {ours["type"]} on '
        f'{installed_backends()[0]}, mmdet runs CocoMetric'
    ]
    return calls, notes


def _evaluator(metric: dict, scope: str | None, names: list[str], samples: list[dict]) -> Call:
    current = DefaultScope.get_current_instance().scope_name

    def call() -> dict:
        scoped = DefaultScope.overwrite_default_scope(scope or current)
        with scoped, quiet(), redirect_stdout(StringIO()):
            evaluator = Evaluator([deepcopy(metric)])
            evaluator.dataset_meta = dict(classes=tuple(names))
            evaluator.process(data_samples=samples, data_batch={})
            return evaluator.evaluate(len(samples))

    return call


def _draw(
    folder: Path, names: list[str], num_images: int, detections: int
) -> tuple[Path, list[dict]]:
    """Draw annotations, and detections that are partly these boxes, moved, and partly noise."""
    rng = np.random.default_rng(0)
    images, annotations, samples = [], [], []
    for i in range(num_images):
        images.append(dict(id=i, file_name=f'{i}.jpg', height=IMAGE_SIZE[0], width=IMAGE_SIZE[1]))
        boxes = random_boxes(rng, IMAGE_SIZE, int(rng.poisson(BOXES_PER_IMAGE)))
        labels = rng.integers(0, len(names), len(boxes))
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=label + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                )
            )
        noise = random_boxes(rng, IMAGE_SIZE, max(0, detections - len(boxes)))
        moved = boxes + rng.normal(0, 4, boxes.shape).astype(np.float32)
        found = np.concatenate([moved, noise])[:detections]
        found_labels = np.concatenate([labels, rng.integers(0, len(names), len(noise))])
        samples.append(
            dict(
                img_id=i,
                ori_shape=IMAGE_SIZE,
                pred_instances=dict(
                    bboxes=torch.from_numpy(found),
                    scores=torch.from_numpy(rng.random(len(found)).astype(np.float32)),
                    labels=torch.from_numpy(found_labels[:detections]),
                ),
            )
        )
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    path = folder / 'annotations.json'
    document = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(document), encoding='utf-8')
    return path, samples
