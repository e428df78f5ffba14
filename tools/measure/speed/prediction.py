"""Prediction from an image in memory to final boxes, masks or classes."""

from __future__ import annotations

import os.path as osp
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image
from torch import nn
from torchvision.transforms._presets import ImageClassification

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.predictor import Predictor
from mbv2_backbone.deploy.runtimes import MODULES, RUNTIMES
from mbv2_backbone.workbench.configs.machine import Machine
from mbv2_backbone.workbench.configs.read import task_of
from mbv2_backbone.workbench.export.geometry import read_geometry
from mbv2_backbone.workbench.predict.file_predictor import FilePredictor, array_pipeline

from .exported import exported_predictors
from .inputs import Size, random_image
from .models import build_random, class_counts, set_candidates, settle_batch_norm
from .peers import (
    FIXED_NORM,
    NO_WEIGHTS,
    TORCH_NO_WEIGHTS,
    fix_head,
    peer_config,
    torchvision_classifier,
    torchvision_detector,
    torchvision_segmentor,
)
from .timing import Call

IMAGE_HW = (480, 640)  # size of the images that a detector gets
_SETTLE_IMAGES = 4


def prediction_calls(
    cfg: Config,
    peers: Sequence[str],
    machine: Machine,
    *,
    batch_size: int,
    size: Size,
    candidates: int,
    runtimes: Sequence[str] = (),
    exported: Sequence[str] = (),
    threads: int = 1,
) -> tuple[dict[str, Call], list[str]]:
    """Prepare the predictions that are timed.

    Args:
        cfg: Our config, of that size.
        peers: Of `mmdet`, `mmseg`, `torchvision`.
        machine: What it runs on.
        batch_size: Images in a call.
        size: Height and width that the network sees.
        candidates: Boxes above the score threshold in an image, set for each detector.
        runtimes: Of `EXPORTED_RUNTIMES`: our model is exported to each.
        exported: Files that tools/export.py wrote; each runs under every runtime that can.
        threads: Threads of the runtimes.

    Returns:
        The calls by name, ours first, and notes.
    """
    task = task_of(cfg)
    rng = np.random.default_rng(0)
    image_size = size if task == 'seg' else IMAGE_HW
    images = [random_image(rng, image_size) for _ in range(max(batch_size, _SETTLE_IMAGES))]
    shown = images[:batch_size]
    model = build_random(cfg)
    prepare_random(model, array_pipeline(cfg), images, cfg, candidates)
    calls = {
        'ours, folded': _ours(cfg, model, shown),
        'ours, eager': _eager(cfg, model, machine, shown),
    }
    who = (TORCH_NO_WEIGHTS, 'of them') if exported else (NO_WEIGHTS, 'detector')
    notes = [
        f'{who[0]}, batch norms settled on {_SETTLE_IMAGES} images; images of '
        f'{image_size[1]}x{image_size[0]} in memory'
    ]
    if task not in ('seg', 'cls'):
        notes.append(f'each {who[1]} is set to {candidates} candidates per image')
    if runtimes:
        predictors = exported_predictors(
            cfg, model, runtimes, _rgb(images), batch_size=batch_size, threads=threads
        )
        calls |= {f'ours, {name}': _on(found, shown) for name, found in predictors.items()}
    for peer in peers:
        if peer == 'torchvision':
            calls[peer] = _torchvision(cfg, machine, images, shown, size, candidates)
        else:
            calls[peer], fixed = _toolbox(peer, cfg, machine, images, shown, size, candidates)
            notes += fixed
    if 'torchvision' in peers and task not in ('seg', 'cls'):
        notes.append('torchvision uses the thresholds of our test_cfg instead of its own')
    calls |= exported_calls(exported, shown, threads)
    if exported:
        notes.append('exported files have the weights, and so the candidates, of their checkpoint')
    return calls, notes


def exported_calls(
    paths: Sequence[str], images: Sequence[np.ndarray], threads: int
) -> dict[str, Call]:
    """Return calls of exported files, under each installed runtime that runs them.

    Args:
        paths: What tools/export.py wrote.
        images: `(H, W, 3)` uint8 BGR.
        threads: Threads of the runtimes.

    Raises:
        UserError: If no installed runtime runs a file.
    """
    return {
        name: _on(Predictor(path, runtime=runtime, threads=threads), images)
        for path in paths
        for name, runtime in runtimes_of(path).items()
    }


def runtimes_of(path: str) -> dict[str, str]:
    """Return the installed runtimes that run an exported file, by the name of the row of each.

    Raises:
        UserError: If there is none.
    """
    names = [
        name
        for name, suffixes in RUNTIMES.items()
        if path.endswith(suffixes) and find_spec(MODULES.get(name, name))
    ]
    if not names:
        raise UserError(f'{path}: none of {", ".join(RUNTIMES)} that runs it is installed')
    return {f'{Path(path).name}, {name}': name for name in names}


def _on(predictor: Predictor, images: Sequence[np.ndarray]) -> Call:
    rgb = _rgb(images)
    return lambda: predictor.predict(rgb)


def _rgb(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.ascontiguousarray(image[..., ::-1]) for image in images]


def _ours(cfg: Config, model: nn.Module, shown: list[np.ndarray]) -> Call:
    """Predict as tools/predict.py does: batch norms folded, in the machine's memory format."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        path = osp.join(folder, 'random.pth')
        torch.save(dict(state_dict=model.state_dict()), path)
        predictor = FilePredictor(cfg, path, score_thr=0.0)
    return lambda: predictor(shown)


def _eager(cfg: Config, model: nn.Module, machine: Machine, shown: list[np.ndarray]) -> Call:
    """Predict with the model as it is trained."""
    pipeline = array_pipeline(cfg)
    model = deepcopy(model).to(machine.device)
    return torch.no_grad()(lambda: model.test_step(_packed(pipeline, shown)))


def _toolbox(
    peer: str,
    cfg: Config,
    machine: Machine,
    images: list[np.ndarray],
    shown: list[np.ndarray],
    size: Size,
    candidates: int,
) -> tuple[Call, list[str]]:
    theirs = peer_config(peer, cfg, size)
    model = build_random(theirs, peer)
    if peer == 'mmdet':
        with DefaultScope.overwrite_default_scope('mmdet'):
            pipeline = array_pipeline(theirs)
    elif task_of(cfg) == 'seg':
        pipeline = array_pipeline(cfg)
    else:
        resize = dict(type='Resize', scale=size[::-1], keep_ratio=False)
        with DefaultScope.overwrite_default_scope('mmseg'):
            pipeline = Compose(
                [dict(type='LoadImageFromNDArray'), resize, dict(type='PackSegInputs')]
            )
    prepare_random(model, pipeline, images, theirs, candidates)
    model.to(machine.device)

    @torch.no_grad()
    def call() -> object:
        return model.test_step(_packed(pipeline, shown))

    return call, fix_head(model) if peer == 'mmdet' else [FIXED_NORM]


def _packed(pipeline: Compose, images: Sequence[np.ndarray]) -> dict:
    return pseudo_collate([pipeline(dict(img=im, img_id=i)) for i, im in enumerate(images)])


def prepare_random(
    model: nn.Module,
    pipeline: Compose,
    images: list[np.ndarray],
    cfg: Config,
    candidates: int,
) -> None:
    """Settle the batch norms of a model with random weights and set its candidates."""
    packed = _packed(pipeline, images[:_SETTLE_IMAGES])
    inputs = model.data_preprocessor(packed, False)['inputs']
    settle_batch_norm(model, lambda: model(inputs, mode='tensor'))
    head = getattr(model, 'bbox_head', None)
    if head is not None:
        has_background = not getattr(head, 'use_sigmoid', False)
        set_candidates(
            [level[-1] for level in head.cls_convs],
            lambda: model(inputs, mode='tensor')[0],
            num_outputs=head.cls_out_channels,
            background=head.cls_out_channels - 1 if has_background else None,
            score_thr=cfg.model.test_cfg.score_thr,
            count=candidates,
        )


def _torchvision(
    cfg: Config,
    machine: Machine,
    images: list[np.ndarray],
    shown: list[np.ndarray],
    size: Size,
    candidates: int,
) -> Call:
    num_classes, num_seg_classes = class_counts(cfg)

    def tensors(arrays: list[np.ndarray]) -> list[torch.Tensor]:
        rgb = (np.ascontiguousarray(array[..., ::-1].transpose(2, 0, 1)) for array in arrays)
        return [torch.from_numpy(array).to(machine.device).float() / 255 for array in rgb]

    if task_of(cfg) == 'seg':
        model = torchvision_segmentor(num_seg_classes).to(machine.device)
        settle_batch_norm(model, lambda: model(torch.stack(tensors(images[:_SETTLE_IMAGES]))))
        return torch.no_grad()(lambda: model(torch.stack(tensors(shown)))['out'].argmax(1).cpu())
    if task_of(cfg) == 'cls':
        return _torchvision_classes(cfg, machine, _rgb(images), _rgb(shown))
    test_cfg = cfg.model.test_cfg
    model = torchvision_detector(
        num_classes,
        size,
        score_thresh=test_cfg.score_thr,
        nms_thresh=test_cfg.nms.iou_threshold,
        detections_per_img=test_cfg.max_per_img,
        topk_candidates=test_cfg.nms_pre,
    ).to(machine.device)
    inputs = model.transform(tensors(images[:_SETTLE_IMAGES]))[0].tensors

    def logits() -> list[torch.Tensor]:
        maps = model.backbone(inputs).values()
        levels = model.head.classification_head.module_list
        return [level(feature) for level, feature in zip(levels, maps, strict=True)]

    settle_batch_norm(model, logits)
    set_candidates(
        [level[-1] for level in model.head.classification_head.module_list],
        logits,
        num_outputs=num_classes + 1,
        background=0,
        score_thr=test_cfg.score_thr,
        count=candidates,
    )
    return torch.no_grad()(lambda: model(tensors(shown)))


def _torchvision_classes(
    cfg: Config, machine: Machine, images: list[np.ndarray], shown: list[np.ndarray]
) -> Call:
    rules = read_geometry(cfg).rules
    size = rules.input_size[0]
    fit = ImageClassification(crop_size=size, resize_size=rules.resize or size)
    width = cfg.model.backbone.get('widen_factor', 1.0)
    model = torchvision_classifier(cfg.model.head.num_classes, width).to(machine.device)

    def views(arrays: list[np.ndarray]) -> torch.Tensor:
        return torch.stack([fit(Image.fromarray(array)) for array in arrays]).to(machine.device)

    settle_batch_norm(model, lambda: model(views(images[:_SETTLE_IMAGES])))
    return torch.no_grad()(lambda: model(views(shown)).softmax(1).cpu())
