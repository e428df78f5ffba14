"""Where a training starts: from scratch, from weights, or in the middle of an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath

from mmengine.config import Config

from ...common.messages import UserError
from ...weights.whole_model import check_resumable, newest_resumable, read_state_dict
from .plan import step


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
    resume: str | PathLike[str] | None,
    work_dir: str,
    *,
    load_from: str | None = None,
    is_resumed: bool = False,
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
        resume = fspath(resume)
        if '://' not in resume:
            check_resumable(resume)
        return Start(resume, is_resumed=True)
    if load_from and '://' not in load_from:
        read_state_dict(load_from)
    return Start(load_from)


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
