"""Read the losses and metrics from `<work_dir>/<time>/vis_data/scalars.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import takewhile
from math import inf, isfinite
from pathlib import Path

_NO_FIGURES = ('iter', 'epoch', 'step')


def newest_log(work_dir: str | Path) -> Path | None:
    """Return the log of the newest training in a work directory, or `None`."""
    logs = _logs(work_dir)
    return logs[-1] if logs else None


def read_scalars(work_dir: str | Path) -> list[dict]:
    """Read the logged values of the newest training, from its start on if it was resumed.

    Args:
        work_dir: Work directory of a training.

    Returns:
        One dict for each line of the log, in order of time: all with `iter`; with `epoch` in
        epoch-based trainings. Validations have those of the training step before them, and
        `is_val`. Empty if there is no log.
    """
    rows: list[dict] = []
    for path in reversed(_logs(work_dir)):
        rows = _before(rows, _read(path)) + rows
        if not _is_resumed(path):
            break
    return _placed(rows)


def curve(rows: Sequence[dict], key: str) -> tuple[list, list]:
    """Return the iterations and the finite values of one key, such as `loss` or `coco/bbox_mAP`.

    `rows` are those of `read_scalars`.
    """
    points = [(row['iter'], row[key]) for row in rows if key in row and isfinite(row[key])]
    return [x for x, _ in points], [y for _, y in points]


def keys_of(rows: Sequence[dict], *, is_val: bool) -> list[str]:
    """Return the names of the values of training or of validation, in order of appearance."""
    keys = dict.fromkeys(
        key
        for row in rows
        if row['is_val'] == is_val
        for key, value in row.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    )
    return [key for key in keys if key not in _NO_FIGURES]


def _logs(work_dir: str | Path) -> list[Path]:
    """Return the non-empty logs in a work directory, by the time in their folder's name."""
    paths = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [path for path in paths if path.stat().st_size]


def _read(path: Path) -> list[dict]:
    rows: list[dict] = []
    for line in path.read_text(encoding='utf-8').splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # from a run that was killed while writing
            continue
        row['is_val'] = 'iter' not in row and 'lr' not in row
        row.setdefault('step', row.get('iter', 0))
        rows.append(row)
    return rows


def _before(resumed: Sequence[dict], rows: Sequence[dict]) -> list[dict]:
    """Return the rows of a log up to the position at which a later one continues.

    Steps of training are iterations; those of validations may be epochs. So each is compared
    only with its own kind.
    """
    first = {row['is_val']: row['step'] for row in reversed(resumed)}
    return list(takewhile(lambda row: row['step'] < first.get(row['is_val'], inf), rows))


def _placed(rows: Sequence[dict]) -> list[dict]:
    """Give validations the iteration and the epoch of the training step before them."""
    placed: list[dict] = []
    for row in rows:
        source = placed[-1] if placed and row['is_val'] else row
        place = {key: source[key] for key in ('iter', 'epoch') if key in source}
        placed.append(dict(iter=row['step']) | row | place)
    return placed


def _is_resumed(path: Path) -> bool:
    config = path.with_name('config.py')
    if not config.is_file():
        return False
    return bool(re.search(r'^resume = True', config.read_text(encoding='utf-8'), re.M))
