"""Checks before the first iteration, with one message per problem."""

from __future__ import annotations

import inspect
import os
import os.path as osp
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ...common.messages import MAX_NAMED, UserError, first_lines, first_names
from ..configs.palettes import file_palette
from ..configs.read import type_name, walk
from ..configs.summary import ConfigSummary
from .image_labels import check_image_labels

if TYPE_CHECKING:
    from .mask_values import MaskRules

_RANK_OF_LAUNCHER = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')

_NAMES = dict(train='training', val='validation', test='test')


def check_before_run(
    cfg: Config, summary: ConfigSummary, splits: Sequence[str], *, launcher: str = 'none'
) -> None:
    """Refuse to start if classes, files or masks are not what the config needs.

    Args:
        cfg: The config before planning; its model has not been replaced or wrapped yet.
        summary: Summary of the config.
        splits: Any of `train`, `val`, `test`.
        launcher: How the processes were started; the first one checks the masks for all.

    Raises:
        UserError: If a check fails; says what is wrong and what to do.
    """
    check_classes(cfg, summary, splits)
    check_data(summary, splits)
    check_evaluators(cfg, summary, splits)
    check_image_labels(cfg, summary, splits)
    if is_first_process(launcher):
        check_masks(cfg, summary, splits)


def check_parts(cfg: Config, splits: Sequence[str]) -> None:
    """Refuse to start when a config lacks what a training or a test needs.

    Validation may be missing as a whole.

    Raises:
        UserError: It names what is missing.
    """
    for split in splits:
        keys = [f'{split}_dataloader', f'{split}_cfg']
        keys.append('optim_wrapper' if split == 'train' else f'{split}_evaluator')
        missing = [key for key in keys if cfg.get(key) is None]
        if missing and not (split == 'val' and missing == keys):
            raise UserError(
                f'{cfg.filename or "the config"} lacks {", ".join(missing)}, without which there '
                f'is no {_NAMES[split]}; inherit them from a config in configs/, or write them as '
                f'there'
            )


def check_data(summary: ConfigSummary, splits: Sequence[str]) -> None:
    """Refuse to start when files that the datasets name are missing.

    Args:
        summary: Summary of the config; the message shows its `data_help`, if any.
        splits: Any of `train`, `val`, `test`.

    Raises:
        UserError: If files are missing, with the expected paths and those that exist; or if
            annotations are a pickle.
    """
    paths: dict[str, bool] = {}
    for dataset in summary.of(splits):
        _refuse_pickles(dataset.config)
        paths |= {path: osp.exists(path) for path in expected_paths(dataset.config)}
    if all(paths.values()):
        return
    lines = ['the data is not where the config expects it:']
    lines += [f'  {"found  " if there else "MISSING"} {path}' for path, there in paths.items()]
    if summary.data_help:
        lines.append(summary.data_help.strip())
    lines.append(
        'If the data is elsewhere, link it there or override the config: --cfg-options data_root=…'
    )
    raise UserError('\n'.join(lines))


def check_evaluators(cfg: Config, summary: ConfigSummary, splits: Sequence[str]) -> None:
    """Refuse to start when a file that an evaluator names is missing.

    Raises:
        UserError: It names the file.
    """
    for split in splits:
        for metric in walk(cfg.get(f'{split}_evaluator')):
            path = metric.get('ann_file') or ''
            if '://' not in path and not osp.exists(path or '.'):
                datasets = ', '.join(one.config.get('ann_file', '') for one in summary.of([split]))
                raise UserError(
                    f'{split}_evaluator.ann_file={path} does not exist; it must be that of '
                    f'{split}_dataloader with its data_root: {datasets}'
                )


def _refuse_pickles(dataset: dict) -> None:
    for key in ('ann_file', 'proposal_file'):
        path = dataset.get(key) or ''
        if path.endswith(('.pkl', '.pickle')):
            raise UserError(
                f'{key}={path} is a pickle file, which can contain code that runs when it is read; '
                f'give the annotations as JSON'
            )


def expected_paths(dataset: dict) -> list[str]:
    """Return the files and folders that a dataset config names, with `data_root` in front."""
    root = dataset.get('data_root') or ''
    parts = [dataset.get('ann_file') or '']
    parts += [prefix for prefix in (dataset.get('data_prefix') or {}).values() if prefix]
    return [osp.join(root, part) for part in parts if part and '://' not in root + part]


def check_classes(cfg: Config, summary: ConfigSummary, splits: Sequence[str]) -> None:
    """Refuse to start when a head and a dataset disagree on the number of classes.

    Raises:
        UserError: If they disagree; names both numbers and the option that fixes it.
    """
    if summary.task == 'joint':
        parts = [(cfg.model.bbox_head, 'classes'), (cfg.model.decode_head, 'seg_classes')]
        parts.append((cfg.model.get('cls_head'), 'image_classes'))
    else:
        parts = [(cfg.model, 'classes')]
    for part, key in parts:
        heads = sorted({node['num_classes'] for node in walk(part) if 'num_classes' in node})
        for dataset in summary.of(splits):
            classes = dataset.metainfo.get(key)
            if key == 'image_classes' and not classes:
                classes = dataset.metainfo.get('classes')
            wrong = [number for number in heads if classes and number != len(classes)]
            if wrong:
                raise UserError(
                    f'the head predicts {wrong[0]} classes, but the dataset '
                    f'{dataset.config["type"]} has {len(classes)} ({first_names(classes, 6)}); '
                    f'put one `{key} = (...)` at the top level of the config, which sets both'
                )


def check_masks(cfg: Config, summary: ConfigSummary, splits: Sequence[str]) -> None:
    """Refuse to start when a segmentation mask cannot be trained on.

    All masks are read once; the results are cached in the work directory by file time and size.
    `check_masks = False` in the config skips the check.

    Args:
        cfg: The config.
        summary: Summary of the config.
        splits: Any of `train`, `val`, `test`.

    Raises:
        UserError: If masks are invalid; names the files, what is wrong and what to do.
    """
    if summary.task in ('det', 'cls') or not cfg.get('check_masks', True):
        return
    from .mask_values import mask_problem, scan_masks  # detection needs no mmseg

    ignore_index = _ignore_index(cfg)
    pairs: list[tuple[str, str]] = []
    rules: list[MaskRules] = []
    backend = 'pillow' if summary.task == 'seg' else 'cv2'  # the toolboxes' defaults
    for one in summary.of(splits):
        config = one.config
        if _mask_loader(config) is None:
            continue
        dataset = DATASETS.build(dict(config, pipeline=[], serialize_data=False))
        _check_zero_label(config, dataset)
        found = _local_masks(config, dataset)
        pairs += found
        rules += [_mask_rules(cfg, config, dataset, ignore_index, backend)] * len(found)

    lines, remedies = [], {}
    facts = scan_masks(pairs, Path(summary.work_dir, 'masks.json'))
    for (path, _), fact, rule in zip(pairs, facts, rules, strict=True):
        problem = mask_problem(fact, rule)
        if problem is not None:
            lines.append(f'{path} {problem.what}')
            if len(lines) <= MAX_NAMED:
                remedies[problem.remedy] = None
    if lines:
        text = [f'{len(lines)} of {len(pairs)} masks cannot be used for training:']
        text += first_lines(lines)
        text += ['What to do:', *(f'  {remedy}' for remedy in remedies)]
        raise UserError('\n'.join(text))


def is_first_process(launcher: str) -> bool:
    """Return whether this is the process that prints and writes for all."""
    # The checks run before the processes join, so mmengine.dist cannot tell yet.
    return int(os.environ.get(_RANK_OF_LAUNCHER.get(launcher, ''), 0)) == 0


def _ignore_index(cfg: Config) -> int:
    """Return the label that is ignored; the loss, the padding and the metric must agree."""
    heads = walk(cfg.model.get('decode_head', cfg.model))
    found = [
        ('decode_head.ignore_index', head.get('ignore_index', 255))
        for head in heads
        if 'num_classes' in head
    ]
    for key in ('seg_pad_val', 'seg_pad_value'):  # mmseg's name and mmdet's
        if key in (cfg.model.get('data_preprocessor') or {}):
            found.append((f'data_preprocessor.{key}', cfg.model.data_preprocessor[key]))
    for split in ('val', 'test'):
        for metric in walk(cfg.get(f'{split}_evaluator')):
            if type_name(metric).endswith('IoUMetric'):
                found.append((f'{split}_evaluator.ignore_index', metric.get('ignore_index', 255)))
    if len({value for _, value in found}) > 1:
        values = ', '.join(f'{key}={value}' for key, value in found)
        raise UserError(f'the ignored label must be the same everywhere, got {values}')
    return found[0][1] if found else 255


def _mask_loader(dataset: dict) -> dict | None:
    for step in walk(dataset.get('pipeline')):
        if type_name(step).endswith(('LoadAnnotations', 'LoadLabelMap')):
            return step
    return None


def _check_zero_label(config: dict, dataset: BaseDataset) -> None:
    """Refuse `reduce_zero_label` if 0 is a class, unless the type defaults to it (LoveDA)."""
    classes = dataset.metainfo.get('classes') or ('',)
    if not config.get('reduce_zero_label') or classes[0] != 'background':
        return
    for kind in type(dataset).__mro__:
        option = inspect.signature(kind.__init__).parameters.get('reduce_zero_label')
        if option is not None and option.default:
            return
        if option is not None:
            break
    raise UserError(
        f'reduce_zero_label=True makes 0 in the masks of {config["type"]} ignored, but its first '
        f'class is {classes[0]}; leave reduce_zero_label out. If 0 in the files means '
        f'unlabelled and 1 is the background, give that class another name'
    )


def _local_masks(config: dict, dataset: BaseDataset) -> list[tuple[str, str]]:
    """Return the paths of the masks, and of their images, that are on this machine."""
    if not len(dataset):
        raise UserError(
            f'{config["type"]} finds no image; check ann_file, img_suffix and the folders of\n  '
            + '\n  '.join(expected_paths(config))
        )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    pairs = [(info['seg_map_path'], info['img_path']) for info in infos if 'seg_map_path' in info]
    return [(mask, image) for mask, image in pairs if '://' not in mask + image]


def _mask_rules(
    cfg: Config, config: dict, dataset: BaseDataset, ignore_index: int, backend: str
) -> MaskRules:
    from ...annotations.masks import MaskCoding
    from .mask_values import MaskRules

    loader = _mask_loader(config)
    heads = walk(cfg.model.get('decode_head', cfg.model))
    coding = MaskCoding(
        reduce_zero_label=dataset.metainfo.get('reduce_zero_label', False),
        label_map=dataset.metainfo.get('label_map'),
        palette=loader.get('palette') or file_palette(config),
        ignore=loader.get('ignore', ()),
        ignore_unknown=loader.get('ignore_unknown', False),
    )
    return MaskRules(
        num_classes=max(
            (node['num_classes'] for node in heads if 'num_classes' in node),
            default=len(dataset.metainfo['classes']),
        ),
        coding=coding,
        ignore_index=ignore_index,
        reads_colours=type_name(loader).endswith('LoadLabelMap'),
        backend=loader.get('imdecode_backend', backend),
    )
