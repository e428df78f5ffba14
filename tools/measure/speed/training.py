"""A whole training step: preprocessing, forward, targets, losses, backward, optimizer."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

from mbv2_backbone.workbench.configs.compiling import compile_networks, compile_options
from mbv2_backbone.workbench.configs.machine import Machine, fit_machine, to_memory_format
from mbv2_backbone.workbench.configs.plan import apply_steps
from mbv2_backbone.workbench.configs.read import task_of
from mbv2_backbone.workbench.train.single_image import single_values_allowed

from .inputs import Size, training_batch
from .models import build_optimizer, build_random, class_counts, set_size, set_width
from .peers import peer_config, torchvision_detector, torchvision_segmentor
from .timing import Call


def ours_step(
    cfg: Config,
    machine: Machine,
    *,
    batch_size: int,
    size: Size,
    width: float | None = None,
    with_cp: bool = False,
) -> Call:
    """Return our training step, fitted to the machine as tools/train.py does.

    Args:
        cfg: Our config; it is fitted in place.
        machine: What it is fitted to.
        batch_size: Images in a step.
        size: Height and width of the images.
        width: Width multiplier of an SSDLite, if not the config's.
        with_cp: Compute the backbone's activations again in the backward pass.
    """
    cfg = apply_steps(cfg, [fit_machine(machine)])
    set_size(cfg, size)
    if width is not None:
        set_width(cfg.model, width)
    if with_cp:
        cfg.model.backbone.with_cp = True
    model = build_random(cfg).to(machine.device)
    to_memory_format(model, machine)
    if (options := compile_options(cfg)) is not None:
        compile_networks(model, options)
    return _mmengine_step(model, cfg, random_batch(cfg, task_of(cfg), batch_size, size))


def peer_step(
    peer: str,
    cfg: Config,
    machine: Machine,
    *,
    batch_size: int,
    size: Size,
    width: float | None = None,
    channels_last: bool = False,
) -> Call:
    """Return a peer's training step as shipped: float32, contiguous unless asked otherwise."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    if peer == 'torchvision':
        return _torchvision_step(cfg, machine, batch_size, size, memory_format)
    theirs = peer_config(peer, cfg, size)
    if width is not None:
        set_width(theirs.model, width, peer)
    model = build_random(theirs, peer).to(machine.device, memory_format=memory_format)
    task = 'seg' if peer == 'mmseg' else 'det'
    return _mmengine_step(model, theirs, random_batch(cfg, task, batch_size, size))


def random_batch(cfg: Config, task: str, batch_size: int, size: Size) -> dict:
    """Draw a batch with the classes of a config, for a task; see `inputs.training_batch`."""
    num_classes, num_seg_classes = class_counts(cfg)
    return training_batch(
        batch_size=batch_size,
        size=size,
        num_classes=num_classes,
        num_seg_classes=num_seg_classes,
        task=task,
    )


def _mmengine_step(model: nn.Module, cfg: Config, batch: dict) -> Call:
    optimizer = build_optimizer(model, cfg)
    model.train()

    def step() -> None:
        is_one = len(batch['inputs']) == 1
        with single_values_allowed(model) if is_one else nullcontext():
            model.train_step(batch, optimizer)

    return step


def _torchvision_step(
    cfg: Config,
    machine: Machine,
    batch_size: int,
    size: Size,
    memory_format: torch.memory_format,
) -> Call:
    num_classes, num_seg_classes = class_counts(cfg)
    is_seg = task_of(cfg) == 'seg'
    batch = random_batch(cfg, 'seg' if is_seg else 'det', batch_size, size)
    model = (
        torchvision_segmentor(num_seg_classes)
        if is_seg
        else torchvision_detector(num_classes, size)
    )
    model.to(machine.device, memory_format=memory_format).train()
    # The optimizer of torchvision's references, at learning rate 0.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=4e-5)

    def step() -> None:
        images = torch.stack(batch['inputs']).to(machine.device).float() / 255
        samples = [sample.to(machine.device) for sample in batch['data_samples']]
        if is_seg:
            masks = torch.cat([sample.gt_sem_seg.data for sample in samples])
            loss = F.cross_entropy(model(images)['out'], masks, ignore_index=255)
        else:
            targets = [
                dict(boxes=s.gt_instances.bboxes, labels=s.gt_instances.labels + 1) for s in samples
            ]
            loss = sum(model(list(images), targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
