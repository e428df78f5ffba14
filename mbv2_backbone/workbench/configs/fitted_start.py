"""Start a training from a whole model of another library, or of other classes."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from ...common.files import write_atomically
from ...common.messages import UserError
from ...weights.checkpoint_files import read_checkpoint
from ...weights.convert import unwrap
from ...weights.load import load_into
from ...weights.sources import fetch
from ...weights.whole_parts import classes_of, renamed
from .start import Start
from .summary import ConfigSummary


def fit_start(start: Start, cfg: Config, summary: ConfigSummary) -> Start:
    """Fit the start to the classes of a config, if it is a whole model of others or not of ours.

    The tensors that fit go into `<work_dir>/start.pth`, and the others are initialised.

    Raises:
        UserError: If the checkpoint cannot be used.
    """
    classes = summary.masks if summary.task == 'seg' else summary.boxes
    if start.checkpoint is None or start.is_resumed or summary.task == 'joint' or not classes:
        return start
    try:
        checkpoint = read_checkpoint(fetch(start.checkpoint))
    except ValueError as error:
        raise UserError(f'cannot load {start.checkpoint}: {error}') from error
    has_its_classes = (classes_of(checkpoint) or classes.names) == classes.names
    if has_its_classes and renamed(unwrap(checkpoint)[0]) is None:
        return start
    backbone = dict(cfg.model.backbone, init_cfg=None)
    with torch.random.fork_rng():
        # Each of several processes writes the file, and all of them read it.
        torch.manual_seed((cfg.get('randomness') or {}).get('seed') or 0)
        model = MODELS.build(dict(cfg.model, backbone=backbone))
        model.init_weights()
    report = load_into(model, checkpoint, classes=classes.names, name=start.checkpoint)
    path = Path(summary.work_dir, 'start.pth')
    path.parent.mkdir(parents=True, exist_ok=True)
    content = BytesIO()
    torch.save(dict(state_dict=model.state_dict()), content)
    write_atomically(content.getvalue(), path)
    note = f'Starting from {report}'
    return replace(start, checkpoint=str(path), notes=(*start.notes, note))
