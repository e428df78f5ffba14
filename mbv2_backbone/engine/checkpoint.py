"""A checkpoint for a whole model: read it safely, and only if it is the model's own."""

from __future__ import annotations

import os.path as osp

import torch
from torch import nn

from ..errors import UserError
from ..weights.convert import unwrap
from ..weights.files import read_checkpoint


def read_state_dict(path: str) -> dict[str, torch.Tensor]:
    """Read the weights of a checkpoint file without running code from it.

    Raises:
        UserError: If there is no such file or it holds no weights.
    """
    if not osp.isfile(path):
        raise UserError(f'no checkpoint at {path}; tools/train.py writes them to its --work-dir')
    try:
        state_dict, _ = unwrap(read_checkpoint(path))
    except ValueError as error:
        raise UserError(str(error)) from error
    if not state_dict:
        raise UserError(f'{path} holds no model weights (a dict of tensors or its `state_dict`)')
    return {key.removeprefix('module.'): value for key, value in state_dict.items()}


def check_covers(model: nn.Module, state_dict: dict[str, torch.Tensor], path: str) -> None:
    """Refuse a checkpoint that would leave any weight of a model as it was.

    Raises:
        UserError: It names the first weights that are missing or have another shape.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state_dict]
    changed = [
        f'{key}: {tuple(state_dict[key].shape)} for {tuple(own[key].shape)}'
        for key in own
        if key in state_dict and state_dict[key].shape != own[key].shape
    ]
    if not missing and not changed:
        return
    lines = [f'{path} is not a checkpoint of this config: of {len(own)} tensors']
    for what, names in (('are missing', missing), ('have another shape', changed)):
        if names:
            shown = ', '.join(names[:3]) + (', …' if len(names) > 3 else '')
            lines.append(f'  {len(names)} {what}: {shown}')
    lines.append('Give the config it was trained with (classes, width and taps must agree).')
    raise UserError('\n'.join(lines))


def load_weights(model: nn.Module, path: str) -> None:
    """Fill a whole model from a checkpoint file; see `read_state_dict` and `check_covers`."""
    state_dict = read_state_dict(path)
    check_covers(model, state_dict, path)
    model.load_state_dict(state_dict, strict=False)
