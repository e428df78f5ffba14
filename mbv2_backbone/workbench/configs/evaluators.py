"""Replace the stock metrics with ours (same numbers, plus more)."""

from __future__ import annotations

import os.path as osp
import re
from os import PathLike, fspath
from typing import Any

from mmengine.config import Config, ConfigDict

from ...common.messages import UserError
from .plan import step
from .read import datasets_of, type_name, walk
from .summary import ConfigSummary

# The default of mmdet's PackDetInputs.
_META_KEYS = (
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction',
)  # fmt: skip


@step('metrics', 'Our metrics compute the stock metrics faster, and add some.')
def use_own_metrics(cfg: Config) -> None:
    """Replace the stock metrics with ours, which give the same numbers and more."""
    for split in ('val', 'test'):
        for metric in walk(cfg.get(f'{split}_evaluator')):
            kind = metric.get('type')
            if own := _own_detection_metric(kind):
                metric['type'] = f'mmdet.{own}'
                if not metric.get('ann_file'):
                    _pack_truth(cfg, split)
            elif kind in ('IoUMetric', 'mmseg.IoUMetric'):
                from ...seg import metrics  # noqa: F401  (registers ClassIoUMetric)

                metric['type'] = 'mmseg.ClassIoUMetric'


def _own_detection_metric(kind: Any) -> str | None:
    name = kind.removeprefix('mmdet.') if isinstance(kind, str) else getattr(kind, '__name__', '')
    if not re.search('coco|refexp', name, re.IGNORECASE):
        return None  # segmentation works without mmdet
    from ...det.metrics import OWN_METRICS

    return OWN_METRICS.get(name)


def _pack_truth(cfg: Config, split: str) -> None:
    """Hand the boxes of the datasets to a metric that has no annotation file."""
    for dataset in datasets_of(cfg, (split,)):
        for one in walk(dataset.get('pipeline')):
            if type_name(one) == 'PackDetInputs':
                keys = one.get('meta_keys', _META_KEYS)
                one['meta_keys'] = tuple(dict.fromkeys([*keys, 'instances']))


@step('drawings', 'Predictions are drawn into the folder of --show-dir.')
def draw_into(cfg: Config, folder: str | PathLike[str], summary: ConfigSummary) -> None:
    """Make a test write drawings of the predictions to a folder."""
    if summary.task != 'det':
        hook = dict(type='PictureHook', folder=fspath(folder), image_root=image_root(summary))
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
        return
    hook = cfg.setdefault('default_hooks', ConfigDict()).get('visualization')
    if hook is None:
        raise UserError('--show-dir needs default_hooks.visualization in the config')
    hook.draw = True
    hook.test_out_dir = osp.abspath(folder)


@step('predictions', 'Predictions are written to the file or the folder of --out.')
def dump_into(cfg: Config, out: str | PathLike[str], summary: ConfigSummary) -> None:
    """Make a test write predictions to a `.pkl` file or, as masks, to a folder."""
    out, evaluators = fspath(out), cfg.test_evaluator
    evaluators = list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]
    task, is_pickle = summary.task, out.endswith(('.pkl', '.pickle'))
    if is_pickle and task == 'seg':
        raise UserError(f'--out must be a folder for the masks of a segmentation, got {out}')
    if task in ('det', 'cls') and not is_pickle:
        raise UserError(f'--out must end in .pkl for boxes and image classes, got {out}')
    if is_pickle:
        kind = 'DumpResults' if task == 'cls' else 'DumpDetResults'
        cfg.test_evaluator = [*evaluators, dict(type=kind, out_file_path=out)]
        return
    for metric in evaluators:
        if type_name(metric).endswith('IoUMetric'):
            metric.mask_dir, metric.image_root = out, image_root(summary)
        elif task == 'seg':  # such as CityscapesMetric
            metric.output_dir, metric.keep_results = out, True


def image_root(summary: ConfigSummary) -> str:
    """Return the common parent folder of all test images."""
    folders = []
    for dataset in summary.datasets['test']:
        prefix = dataset.config.get('data_prefix') or {}
        folder = prefix.get('img_path') or prefix.get('img') or ''  # mmseg's name and mmdet's
        folders.append(osp.join(dataset.config.get('data_root') or '', folder))
    return osp.commonpath([osp.abspath(folder) for folder in folders])
