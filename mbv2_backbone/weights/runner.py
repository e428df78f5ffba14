"""Make mmengine's Runner load checkpoints without running code."""

from __future__ import annotations

from typing import Any

from ..common.messages import UserError
from .checkpoint_files import read_checkpoint
from .convert import unwrap
from .sources import fetch
from .whole_parts import renamed


def refuse_code_in_checkpoints() -> None:
    """Make mmengine read checkpoints from every address as `read_checkpoint` does.

    mmengine on torch before 2.6, and onedl-mmengine on any torch if a file is not safe, unpickle
    everything in it, including code.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    CheckpointLoader.register_scheme(list(CheckpointLoader._schemes), _load, force=True)


def _load(address: str, map_location: Any = None, **_: Any) -> dict[str, Any]:
    del map_location  # tensors go to the model's device
    try:
        checkpoint = read_checkpoint(fetch(address))
        ours = renamed(unwrap(checkpoint)[0])
        if ours is not None:
            checkpoint = dict(state_dict=ours)
    except ValueError as error:
        raise UserError(f'cannot load {address}: {error}') from error
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)  # Runner.resume would run this text as Python
    return checkpoint
