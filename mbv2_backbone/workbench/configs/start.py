"""Where a training starts: from scratch, from weights, or in the middle of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from ...common.files import write_atomically
from ...common.messages import UserError
from ...weights.checkpoint_files import read_checkpoint
from ...weights.layouts.tensorflow_names import LAYOUT as TENSORFLOW
from ...weights.load import load_into
from ...weights.sources import fetch
from ...weights.whole_model import check_resumable, newest_resumable, read_state_dict
from .plan import step
from .summary import ConfigSummary


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        checkpoint: Path or URL of the checkpoint; `None` for none.
        is_resumed: Whether the optimizer and the schedule continue from it, too.
        notes: What the user should know about it.
    """

    checkpoint: str | None = None
    is_resumed: bool = False
    notes: tuple[str, ...] = ()


def find_start(
    resume: str | None, work_dir: str, *, load_from: str | None = None, is_resumed: bool = False
) -> Start:
    """Choose where a training starts.

    The file is read as a test, so that a damaged file or one with code in it is refused here.

    Args:
        resume: `auto` for the newest good checkpoint in the work directory, or a checkpoint.
        work_dir: The work directory.
        load_from: The config's `load_from`; used if `resume` is `None`.
        is_resumed: The config's `resume`; used if `resume` is `None`.

    Raises:
        UserError: If a checkpoint cannot be used.
    """
    if resume is None and is_resumed:
        resume = load_from or 'auto'
    if resume == 'auto':
        notes: list[str] = []
        path = newest_resumable(work_dir, warn=notes.append)
        if path is None:
            note = f'There is no checkpoint in {work_dir} to continue from; this is a new run.'
            return Start(load_from, notes=(note,))
        return Start(path, is_resumed=True, notes=tuple(notes))
    if resume is not None:
        if '://' not in resume:
            check_resumable(resume)
        return Start(resume, is_resumed=True)
    if load_from and '://' not in load_from:
        read_state_dict(load_from)
    return Start(load_from)


def fit_start(start: Start, cfg: Config, summary: ConfigSummary) -> Start:
    """Fit the start to the classes of a config, if it is a whole model of others or of TensorFlow.

    The tensors that fit go into `<work_dir>/start.pth`, and the others are initialised.

    Raises:
        UserError: If the checkpoint cannot be used.
    """
    classes = summary.boxes if summary.task == 'det' else summary.masks
    if start.checkpoint is None or start.is_resumed or summary.task == 'joint' or not classes:
        return start
    checkpoint = read_checkpoint(fetch(start.checkpoint))
    meta = checkpoint.get('meta')
    trained = (meta.get('dataset_meta') or {}) if isinstance(meta, Mapping) else {}
    of_others = tuple(trained.get('classes') or classes.names) != classes.names
    if not of_others and not TENSORFLOW.find_prefixes(checkpoint):
        return start
    backbone = dict(cfg.model.backbone, init_cfg=None)
    with torch.random.fork_rng():
        # Each of several processes writes the file, and all of them read it.
        torch.manual_seed((cfg.get('randomness') or {}).get('seed') or 0)
        model = MODELS.build(dict(cfg.model, backbone=backbone))
        model.init_weights()
    report = load_into(model, checkpoint, classes=classes.names)
    path = Path(summary.work_dir, 'start.pth')
    path.parent.mkdir(parents=True, exist_ok=True)
    content = BytesIO()
    torch.save(dict(state_dict=model.state_dict()), content)
    write_atomically(content.getvalue(), path)
    note = f'Starting from {replace(report, source=start.checkpoint)}'
    return replace(start, checkpoint=str(path), notes=(*start.notes, note))


@step('start', 'Sets the checkpoint to start or resume from.')
def start_from(cfg: Config, start: Start) -> None:
    """Write the start of a run into its config."""
    cfg.resume, cfg.load_from = start.is_resumed, start.checkpoint


@step('learning rate', 'Scales the learning rate with the real batch size (--auto-scale-lr).')
def scale_lr(cfg: Config) -> None:
    """Make mmengine scale the learning rate.

    Raises:
        UserError: If the config does not say which batch size its learning rate is for.
    """
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=…) in the config')
    cfg.auto_scale_lr.enable = True
