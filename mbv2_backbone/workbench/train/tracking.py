"""Log to TensorBoard, W&B and MLflow; disable TensorBoard logging after its first error."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.visualization import TensorboardVisBackend

from ...common.messages import UserError, warn
from ..configs.plan import step
from ..configs.read import type_name

TRACKERS = ('wandb', 'mlflow')


def _never_in_the_way(record: Callable[..., None]) -> Callable[..., None]:
    """Decorate a method of an automatic backend: its first error switches the backend off."""

    @wraps(record)
    def safe(self: LateTensorboardVisBackend, *args: Any, **kwargs: Any) -> None:
        if self.is_off:
            return
        try:
            record(self, *args, **kwargs)
        except Exception as error:  # a broken package may raise anything
            self.is_off = True
            warn(
                f'{type(self).__name__} could not record losses and metrics, and is switched off '
                f'({type(error).__name__}: {error}). Training continues without TensorBoard events.'
            )

    return safe


@VISBACKENDS.register_module()
class LateTensorboardVisBackend(TensorboardVisBackend):
    """mmengine's `TensorboardVisBackend` that loads TensorBoard when there are values to log.

    The stock one loads it to write the config, before the model is built. An error stops the
    events, not the training.

    Attributes:
        is_off: Whether there was an error.
    """

    is_off = False
    _config: Config | None = None

    def add_config(self, config: Config, **_kwargs: Any) -> None:
        """Keep the config until there are values to log."""
        self._config = config

    @_never_in_the_way
    def add_scalars(self, scalar_dict: dict, *args: Any, **kwargs: Any) -> None:
        """Write the config before the first values, then the values."""
        config, self._config = self._config, None
        if config is not None:
            super().add_config(config)
        super().add_scalars(scalar_dict, *args, **kwargs)

    add_scalar = _never_in_the_way(TensorboardVisBackend.add_scalar)
    add_image = _never_in_the_way(TensorboardVisBackend.add_image)
    close = _never_in_the_way(TensorboardVisBackend.close)


@step('tracking', 'Losses and metrics go to TensorBoard and to the trackers of --track.')
def add_tracking(cfg: Config, trackers: Sequence[str] = ()) -> None:
    """Make a training log to TensorBoard and to trackers.

    Args:
        cfg: The config of a training.
        trackers: `wandb` or `mlflow`, or both.

    Raises:
        UserError: If a tracker is unknown or its package is not installed.
    """
    unknown = [name for name in trackers if name not in TRACKERS]
    if unknown:
        raise UserError(f'--track takes {" and ".join(TRACKERS)}, got {", ".join(unknown)}')
    missing = [name for name in trackers if find_spec(name) is None]
    if missing:
        raise UserError(
            f'--track {" ".join(trackers)} needs what is not installed; '
            f'run: pip install {" ".join(missing)}'
        )
    if cfg.get('visualizer') is None:
        cfg.visualizer = dict(type='Visualizer')
    backends = list(cfg.visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
    present = {type_name(backend) for backend in backends}
    if find_spec('tensorboard') and not any(map(_writes_events, backends)):
        backends.append(dict(type='LateTensorboardVisBackend'))
    name = osp.basename(osp.abspath(cfg.work_dir))
    known = dict(
        wandb=dict(type='WandbVisBackend', init_kwargs=dict(project='mbv2_backbone', name=name)),
        mlflow=_mlflow_backend(cfg.work_dir, name),
    )
    wanted = [known[tracker] for tracker in dict.fromkeys(trackers)]
    backends += [backend for backend in wanted if backend['type'] not in present]
    cfg.visualizer.vis_backends = backends


def _writes_events(backend: dict) -> bool:
    return type_name(backend).endswith('TensorboardVisBackend')


def tracking_remark(visualizer: dict) -> str:
    """Return a note if a planned visualizer writes no TensorBoard events, else ''."""
    if any(map(_writes_events, visualizer.get('vis_backends') or [])):
        return ''
    return 'No TensorBoard events are written; `pip install tensorboard` adds them.'


def _mlflow_backend(work_dir: str, run_name: str) -> dict:
    """Return the backend for the server of MLFLOW_TRACKING_URI, else for a file in `work_dir`.

    MLflow 3 refuses mmengine's own default, a store of plain files.
    """
    backend = dict(type='MLflowVisBackend', exp_name='mbv2_backbone', run_name=run_name)
    server = os.environ.get('MLFLOW_TRACKING_URI')
    if server:
        return dict(backend, tracking_uri=server)
    folder = _store_of(work_dir)
    # The logs are already next to the store: nothing is copied into it.
    return dict(
        backend,
        tracking_uri=f'sqlite:///{folder}/mlflow.db',
        artifact_location=f'file://{folder}/artifacts',
        artifact_suffix=(),
    )


def _store_of(work_dir: str) -> str:
    return osp.abspath(osp.join(work_dir, 'mlflow'))


def make_stores(trackers: Sequence[str], work_dir: str) -> None:
    """Create the folders that trackers write to but do not create themselves."""
    if 'mlflow' in trackers and not os.environ.get('MLFLOW_TRACKING_URI'):
        os.makedirs(_store_of(work_dir), exist_ok=True)
