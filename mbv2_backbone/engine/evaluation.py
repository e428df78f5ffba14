"""What an evaluation writes and how it predicts, put into its config."""

from __future__ import annotations

import os.path as osp
from copy import deepcopy

from mmengine.config import Config, ConfigDict

from ..errors import UserError
from .config import datasets_of, task_of


def draw_into(cfg: Config, folder: str) -> None:
    """Let pictures of the predictions be written into a folder, in place."""
    if task_of(cfg) != 'det':
        hook = dict(
            type='PictureHook', folder=folder, task=task_of(cfg), image_root=image_root(cfg)
        )
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
        return
    hook = cfg.setdefault('default_hooks', ConfigDict()).get('visualization')
    if hook is None:
        raise UserError('--show-dir needs default_hooks.visualization in the config')
    hook.draw = True
    hook.test_out_dir = osp.abspath(folder)


def dump_into(cfg: Config, out: str) -> None:
    """Let predictions be written into a `.pkl` file or, as masks, into a folder, in place."""
    evaluators = cfg.test_evaluator
    evaluators = list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]
    task, is_pickle = task_of(cfg), out.endswith(('.pkl', '.pickle'))
    if is_pickle and task == 'seg':
        raise UserError(f'--out must be a folder for the masks of a segmentation, got {out}')
    if task == 'det' and not is_pickle:
        raise UserError(f'--out must end in .pkl for detection, got {out}')
    if is_pickle:
        cfg.test_evaluator = [*evaluators, dict(type='DumpDetResults', out_file_path=out)]
        return
    for metric in evaluators:
        if metric.type.endswith('IoUMetric'):
            metric.mask_dir, metric.image_root = out, image_root(cfg)
        elif task == 'seg':  # such as CityscapesMetric
            metric.output_dir, metric.keep_results = out, True


def image_root(cfg: Config) -> str:
    """Return the folder that all test images are below."""
    folders = []
    for dataset in datasets_of(cfg, ('test',)):
        prefix = dataset.get('data_prefix') or {}
        folder = prefix.get('img_path') or prefix.get('img') or ''  # mmseg's name and mmdet's
        folders.append(osp.join(dataset.get('data_root') or '', folder))
    return osp.commonpath([osp.abspath(folder) for folder in folders])


def use_tta(cfg: Config) -> None:
    """Wrap the model and the test pipeline; without a `tta_pipeline`, detection gets a flip."""
    if task_of(cfg) != 'det' and 'tta_model' not in cfg:
        raise UserError('--tta needs tta_model and tta_pipeline in a config with masks')
    if 'tta_model' not in cfg:
        nms = deepcopy(
            cfg.model.get('test_cfg', {}).get('nms', dict(type='nms', iou_threshold=0.5))
        )
        limit = cfg.model.get('test_cfg', {}).get('max_per_img', 100)
        cfg.tta_model = dict(type='DetTTAModel', tta_cfg=dict(nms=nms, max_per_img=limit))
    if 'tta_pipeline' not in cfg:
        pipeline = deepcopy(cfg.test_dataloader.dataset.pipeline)
        pack = pipeline.pop()
        keys = (*pack.get('meta_keys', ()), 'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        packs = [dict(pack, meta_keys=keys)]
        cfg.tta_pipeline = [*pipeline, dict(type='TestTimeAug', transforms=[flips, packs])]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
