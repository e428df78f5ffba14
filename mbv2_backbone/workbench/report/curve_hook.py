"""Draw the curves of a training while it runs."""

from __future__ import annotations

import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...common.notebook import Output

CURVES_FILE = 'curves.png'


class CurveHook(Hook):
    """Draws `<work_dir>/curves.png` after each validation and at the end of the training.

    In a notebook it is shown below the cell.
    """

    def __init__(self) -> None:
        self._output = Output()

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Draw what has been logged so far."""
        try:
            from .curves import draw_curves
            from .logs import read_scalars
            from .style import save_figure

            figure = draw_curves(read_scalars(runner.work_dir))
            if figure is not None:
                path = osp.join(runner.work_dir, CURVES_FILE)
                save_figure(figure, path)
                self._output.show_picture(path)
        except Exception as error:  # whatever is wrong with a plot must not end a training
            runner.logger.warning(f'{CURVES_FILE} was not drawn: {type(error).__name__}: {error}')

    def after_val_epoch(self, runner: Runner, metrics: object = None) -> None:  # noqa: ARG002
        """Draw what has been logged so far."""
        self.after_train(runner)
