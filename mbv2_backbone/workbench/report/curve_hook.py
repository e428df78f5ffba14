"""Draw the curves of a training while it runs."""

from __future__ import annotations

import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

CURVES_FILE = 'curves.png'


class CurveHook(Hook):
    """Draws `<work_dir>/curves.png` after each validation and at the end of the training."""

    def after_val_epoch(
        self,
        runner: Runner,
        metrics: dict[str, float] | None = None,  # noqa: ARG002
    ) -> None:
        """Draw what there is."""
        _draw_curves(runner)

    def after_train(self, runner: Runner) -> None:
        """Draw all of it."""
        _draw_curves(runner)


@master_only
def _draw_curves(runner: Runner) -> None:
    try:
        from .curves import save_curves
        from .logs import read_scalars

        save_curves(read_scalars(runner.work_dir), osp.join(runner.work_dir, CURVES_FILE))
    except Exception as error:  # whatever is wrong with a picture must not end a training
        runner.logger.warning(f'{CURVES_FILE} was not drawn: {type(error).__name__}: {error}')
