"""Load a checkpoint of a whole model safely, and only if it fits the model."""

from __future__ import annotations

import os.path as osp
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from ..common.messages import UserError, first_names
from .checkpoint_files import find_checkpoint_index, read_checkpoint
from .convert import unwrap
from .sources import fetch
from .whole_parts import in_our_names

LAST_CHECKPOINT = 'last_checkpoint'  # mmengine's file with the name of the newest


def read_weights(path: str) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    """Read the weights of a whole model by our names, and their `meta`, without running code.

    Args:
        path: A path, or an address (see `sources.fetch`); TensorFlow's SSDLite and DeepLab, and
            classifiers of every known layout, too.

    Returns:
        The state dict, and what mmengine's checkpoints say of their training; others nothing.

    Raises:
        UserError: If there is no such file or it holds no weights.
    """
    is_local = '://' not in path
    if is_local and not osp.isfile(path) and find_checkpoint_index(Path(path)) is None:
        raise UserError(f'no checkpoint at {path}; tools/train.py writes them to its --work-dir')
    try:
        checkpoint = read_checkpoint(fetch(path))
        state_dict = in_our_names(unwrap(checkpoint)[0])
    except ValueError as error:
        raise UserError(f'cannot load {path}: {error}') from error
    if not state_dict:
        raise UserError(f'{path} holds no model weights (a dict of tensors or its `state_dict`)')
    meta = checkpoint.get('meta')
    own = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    return own, meta if isinstance(meta, Mapping) else {}


def read_state_dict(path: str) -> dict[str, torch.Tensor]:
    """Read the weights of a whole model; see `read_weights`."""
    return read_weights(path)[0]


def check_covers(model: nn.Module, state_dict: dict[str, torch.Tensor], path: str) -> None:
    """Reject a checkpoint that would leave any weight of a model unchanged.

    Raises:
        UserError: It names the first weights that are missing or differ in shape.
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
            lines.append(f'  {len(names)} {what}: {first_names(names)}')
    lines.append('Give the config it was trained with (classes, width and taps must agree).')
    raise UserError('\n'.join(lines))


def load_weights(model: nn.Module, path: str) -> Mapping[str, Any]:
    """Fill a whole model from a checkpoint file; return its `meta`.

    See `read_weights` and `check_covers`.
    """
    state_dict, meta = read_weights(path)
    check_covers(model, state_dict, path)
    model.load_state_dict(state_dict, strict=False)
    return meta


def last_checkpoint(work_dir: str | PathLike[str]) -> str | None:
    """Return the checkpoint named by `last_checkpoint` in a work directory, if it exists."""
    pointer = Path(work_dir, LAST_CHECKPOINT)
    path = pointer.read_text(encoding='utf-8').strip() if pointer.is_file() else ''
    return path if osp.isfile(path) else None


def find_checkpoint(name: str | PathLike[str], work_dir: str | PathLike[str]) -> str:
    """Return the file that `best` or `last` refers to; any other name is a path.

    Args:
        name: `best`, `last` or a path.
        work_dir: The work directory of a run.

    Raises:
        UserError: If the run left no such checkpoint.
    """
    if name == 'last':
        path = last_checkpoint(work_dir) or _newest(work_dir, '*.pth')
    elif name == 'best':
        path = _newest(work_dir, 'best_*.pth')
    else:
        return fspath(name)
    if path is None:
        others = ', '.join(sorted(file.name for file in Path(work_dir).glob('*.pth')))
        raise UserError(
            f'no {name} checkpoint in {work_dir}; found: {others or "none"}. Train first, '
            f'name a file, or give the --work-dir of the run'
        )
    return path


def _newest(work_dir: str | PathLike[str], pattern: str) -> str | None:
    files = sorted(Path(work_dir).glob(pattern), key=lambda path: path.stat().st_mtime)
    return str(files[-1]) if files else None


def build_model(cfg: Config, checkpoint: str) -> tuple[nn.Module, Mapping[str, Any]]:
    """Build a config's model in eval mode and fill all of it from a checkpoint.

    Returns:
        The model, and the checkpoint's `meta`.
    """
    model = MODELS.build(cfg.model)
    meta = load_weights(model, checkpoint)
    return model.eval(), meta


def check_resumable(path: str) -> None:
    """Reject a file that training cannot resume from.

    Raises:
        UserError: If there is no such file, it is damaged, or it contains only weights.
    """
    if not osp.isfile(path):
        raise UserError(f'no checkpoint at {path}')
    try:
        checkpoint = read_checkpoint(path)
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not verify the checksums
    except ValueError as error:
        raise UserError(str(error)) from error
    except zipfile.BadZipFile as error:
        raise UserError(
            f'{path} is not a training checkpoint, or is damaged ({error}); to start from its '
            f'weights: --cfg-options load_from={path}'
        ) from error
    if damaged:
        raise UserError(f'{path} is damaged: the checksum of {damaged} is wrong')
    meta = checkpoint.get('meta')
    parts = {*checkpoint, *(meta if isinstance(meta, dict) else ())}
    if not {'state_dict', 'optimizer', 'message_hub', 'iter', 'epoch'} <= parts:
        raise UserError(
            f'{path} holds weights, but no training state of mmengine to resume from; to start '
            f'from its weights: --cfg-options load_from={path}'
        )


def newest_resumable(work_dir: str | PathLike[str], warn: Callable[[str], None]) -> str | None:
    """Find the checkpoint to resume from: the last one named, or else the newest valid one.

    Args:
        work_dir: The work directory of a run.
        warn: Called for each file that is skipped and for the one used instead.

    Returns:
        Its path; `None` if there are no checkpoints.

    Raises:
        UserError: If there are checkpoints, but none is valid.
    """
    files = [path for path in Path(work_dir).glob('*.pth') if not path.name.startswith('best_')]
    found = [str(path) for path in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)]
    named = last_checkpoint(work_dir)
    paths = list(dict.fromkeys([named, *found] if named else found))
    problems: list[str] = []
    for path in paths:
        try:
            check_resumable(path)
        except UserError as error:
            problems.append(str(error))
            continue
        if problems:
            warn(f'{"; ".join(problems)}. Resuming from {path}, the newest complete checkpoint.')
        return path
    if problems:
        raise UserError(
            f'nothing in {work_dir} to resume from: {"; ".join(problems)}. '
            f'Train without --resume to start again'
        )
    return None
