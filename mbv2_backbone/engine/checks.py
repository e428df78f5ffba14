"""What can be found out before the first iteration, said in one message."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence

from mmengine.config import Config

from ..errors import UserError
from .config import datasets_of, metainfo_of, walk


def check_data(cfg: Config, splits: Sequence[str]) -> None:
    """Refuse to start when files that the datasets name are missing.

    Args:
        cfg: The config; its `data_help`, if any, is printed as the way to get the data.
        splits: Any of `train`, `val`, `test`.

    Raises:
        UserError: It shows the expected layout with what is there and what is not.
    """
    paths: dict[str, bool] = {}
    for dataset in datasets_of(cfg, splits):
        paths |= {path: osp.exists(path) for path in expected_paths(dataset)}
    if all(paths.values()):
        return
    lines = ['the data is not where the config expects it:']
    lines += [f'  {"found  " if there else "MISSING"} {path}' for path, there in paths.items()]
    if cfg.get('data_help'):
        lines.append(cfg.data_help.strip())
    lines.append('Data elsewhere? Link it there, or override the config: --cfg-options data_root=…')
    raise UserError('\n'.join(lines))


def expected_paths(dataset: dict) -> list[str]:
    """Return the files and folders that a dataset config names, `data_root` joined in front."""
    root = dataset.get('data_root') or ''
    parts = [dataset.get('ann_file') or '']
    parts += [prefix for prefix in (dataset.get('data_prefix') or {}).values() if prefix]
    return [osp.join(root, part) for part in parts if part and '://' not in root + part]


def check_classes(cfg: Config, splits: Sequence[str]) -> None:
    """Refuse to start when a head and a dataset disagree on the number of classes.

    Raises:
        UserError: It names both numbers and the option that mends it.
    """
    heads = sorted({node['num_classes'] for node in walk(cfg.model) if 'num_classes' in node})
    for dataset in datasets_of(cfg, splits):
        classes = metainfo_of(dataset).get('classes')
        if not classes or not heads:
            continue
        wrong = [number for number in heads if number != len(classes)]
        if wrong:
            raise UserError(
                f'the head predicts {wrong[0]} classes, but the dataset {dataset["type"]} has '
                f'{len(classes)} ({", ".join(classes[:6])}{", …" if len(classes) > 6 else ""}); '
                f'put one `classes = (...)` at the top level of the config, which drives both'
            )
