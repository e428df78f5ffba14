"""Loss and metric logs that survive a full disk."""

from __future__ import annotations

from mmengine.fileio import dump
from mmengine.registry import VISBACKENDS
from mmengine.visualization import LocalVisBackend

from ...common.files import append_line
from ...common.messages import warn


@VISBACKENDS.register_module()
class SafeLocalVisBackend(LocalVisBackend):
    """mmengine's JSON lines of losses and metrics; each is written completely or not at all.

    The first line that cannot be written causes a warning, later ones do not.
    """

    _has_warned = False

    def _dump(self, value_dict: dict, file_path: str, file_format: str) -> None:
        try:
            append_line(dump(value_dict, file_format=file_format), file_path)
        except OSError as error:
            if not self._has_warned:
                warn(
                    f'{type(self).__name__} could not record losses and metrics ({error}). '
                    f'Training continues, but the log will have a gap. Free some disk space.'
                )
            self._has_warned = True
