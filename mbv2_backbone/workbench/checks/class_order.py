"""Compare the classes that a checkpoint was trained with with those of a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...common.messages import UserError, warn
from ..configs.summary import Classes, ConfigSummary


def check_class_order(path: str, meta: Mapping[str, Any], summary: ConfigSummary) -> None:
    """Refuse a checkpoint whose classes are those of a config in another order.

    The shapes agree, so that it would be loaded, and every prediction would have a wrong name.
    Other names are only a warning: they may be the same classes in another language.

    Args:
        path: A checkpoint, for the message.
        meta: Its own; only mmengine's checkpoints say what they were trained with.
        summary: Of the config.

    Raises:
        UserError: If the order differs.
    """
    trained = meta.get('dataset_meta')
    if not isinstance(trained, Mapping):
        return
    _compare(
        path, trained.get('classes'), summary.masks if summary.task == 'seg' else summary.boxes
    )
    if summary.task == 'joint':
        _compare(path, trained.get('seg_classes'), summary.masks)
        _compare(path, trained.get('image_classes'), summary.images)


def _compare(path: str, trained: Sequence[Any] | None, classes: Classes | None) -> None:
    given = classes.names if classes else ()
    names = tuple(trained or ())
    if not names or not given or names == given:
        return
    differing = [
        f'{old} (config: {new})' for old, new in zip(names, given, strict=False) if old != new
    ]
    said = (
        f'{path} was trained with the classes {_shown(names)}, the config has {_shown(given)}; '
        f'the first that differs: {next(iter(differing), "none, their number does")}'
    )
    if sorted(map(str, names)) == sorted(given):
        raise UserError(f'{said}. Give the config it was trained with, or put them in that order')
    warn(f'{said}. Predictions get the names of the config')


def _shown(names: Sequence[Any]) -> str:
    return ', '.join(map(str, names[:6])) + (', …' if len(names) > 6 else '')
