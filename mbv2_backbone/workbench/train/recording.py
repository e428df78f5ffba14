"""Loss and metric logs that survive a full disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from mmengine.fileio import dump
from mmengine.registry import VISBACKENDS
from mmengine.visualization import LocalVisBackend

from ...common.files import append_line
from ...common.messages import warn


def outlives_full_disk(record: Callable[..., None]) -> Callable[..., None]:
    """Decorate a method of a record: its first `OSError` is a warning, later ones are silent."""

    @wraps(record)
    def safe(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            record(self, *args, **kwargs)
        except OSError as error:
            if not getattr(self, '_has_warned', False):
                warn(
                    f'{type(self).__name__} could not record losses and metrics ({error}). '
                    f'Training continues, but the log will have a gap. Free some disk space.'
                )
            self._has_warned = True

    return safe


@VISBACKENDS.register_module()
class SafeLocalVisBackend(LocalVisBackend):
    """mmengine's JSON lines of losses and metrics, each of which is whole or not there."""

    @outlives_full_disk
    def _dump(self, value_dict: dict, file_path: str, file_format: str) -> None:
        append_line(dump(value_dict, file_format=file_format), file_path)
