"""Read a config and apply the command line options."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope, init_default_scope

from ...common.messages import UserError
from ...common.own_configs import config_path
from .length import follow_length, followed
from .overrides import parse_overrides
from .plan import Explain, apply_steps, step
from .safe import check_is_data, is_data
from .versions import check_version

RESIZES = ('Resize', 'LegacyResize')
SPLITS = ('train', 'val', 'test')
_CLASS_KEYS = {'classes', 'seg_classes', 'image_classes'}


def load_config(
    path: str | PathLike[str],
    overrides: Sequence[str] | None = None,
    *,
    work_dir: str | PathLike[str] | None = None,
    explain: Explain | None = None,
    note: Callable[[str], Any] | None = None,
) -> Config:
    """Read a config file, apply `key=value` overrides and copy its `classes` to heads and datasets.

    Args:
        path: A `.py`, `.json` or `.yaml` config, or the name of one of this project's configs.
        overrides: The values of `--cfg-options`.
        work_dir: Replaces the config's own.
        explain: See `apply_steps`.
        note: Called with what the user should know of the result.

    Raises:
        UserError: If there is no such file, it cannot be read, or it describes no model.
    """
    path = fspath(path)  # mmengine takes no other
    if not osp.isfile(path):
        path = config_path(path)
    try:
        if is_data(path):
            check_is_data(path)
        cfg = Config.fromfile(path)
        written = deepcopy(cfg) if overrides else cfg
        data_root = cfg.get('data_root')
        if overrides:
            cfg.merge_from_dict(parse_overrides(cfg, overrides))
        if data_root and cfg.data_root != data_root:
            _move_data(cfg._cfg_dict, data_root, cfg.data_root)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f'cannot read the config {path}: {type(error).__name__}: {error}'
        ) from error
    if 'model' not in cfg:
        raise UserError(
            f'{path} is not a model config: it has no `model`, only '
            f'{sorted(cfg.keys()) or "nothing"}; see configs/ for examples'
        )
    old_settings = check_version(path, cfg)
    default = osp.join('work_dirs', osp.splitext(osp.basename(path))[0])
    cfg.work_dir = fspath(work_dir or cfg.get('work_dir') or default)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    steps = [follow_length(written)] if overrides else []
    cfg = apply_steps(cfg, [*steps, spread_classes(), match_output_stride()], explain)
    for remark in (old_settings, followed(written, cfg)):
        if note and remark:
            note(remark)
    return cfg


def _move_data(node: Any, old: str, new: str) -> None:
    """Replace the data root at the start of every path in a config, in place."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        if isinstance(value, (dict, list)):
            _move_data(value, old, new)
        elif isinstance(value, str) and value.rstrip('/') == old.rstrip('/'):
            node[key] = new
        elif isinstance(value, str) and value.startswith(osp.join(old, '')):
            node[key] = osp.join(new, value[len(osp.join(old, '')) :])


def task_of(cfg: Config) -> str:
    """Return `det`, `seg`, `joint` or `cls`: what a config's model predicts.

    A joint model predicts boxes and masks and follows mmdet's runner conventions.
    """
    if 'bbox_head' in cfg.model and 'decode_head' in cfg.model:
        return 'joint'
    if type_name(cfg.model) == 'ImageClassifier':
        return 'cls'
    return 'seg' if cfg.get('default_scope') == 'mmseg' else 'det'


@step('classes', 'One list of classes at the top sets the classes of every head and dataset.')
def spread_classes(cfg: Config) -> None:
    """Copy a top-level `classes` (and `palette`) to the heads and the datasets.

    Without a top-level `classes` nothing is changed; `None` stands for the names of the folders
    of a classifier's first split that exists. Evaluators take their classes from the
    dataset. In a joint model `seg_classes` (and `seg_palette`) are those of the masks, by default
    `background` followed by `classes`; `image_classes` are those of its classifier, by default
    `classes`.
    """
    if 'classes' in cfg and cfg.classes is None and task_of(cfg) == 'cls':
        cfg.classes = _folder_names(cfg)
    classes = cfg.get('classes')
    if classes is None:
        return
    metainfo = dict(classes=_class_names(classes, 'classes'))
    if cfg.get('palette') is not None:
        metainfo['palette'] = cfg.palette
    for head in walk(cfg.model):
        if 'num_classes' in head:
            head['num_classes'] = len(classes)
    if task_of(cfg) == 'joint':
        metainfo |= _spread_seg_classes(cfg)
        if cfg.model.get('cls_head'):
            metainfo |= _spread_image_classes(cfg)
    for dataset in datasets_of(cfg):
        if any(
            dataset.get('metainfo', {}).get(k) != metainfo[k] for k in _CLASS_KEYS & {*metainfo}
        ):
            dataset['metainfo'] = ConfigDict(metainfo)


def _folder_names(cfg: Config) -> tuple[str, ...] | None:
    from ...cls.class_folders import class_folders

    for dataset in datasets_of(cfg):
        prefix = (dataset.get('data_prefix') or {}).get('img_path', '')
        names = class_folders(Path(dataset.get('data_root') or '', prefix))
        if names:
            return tuple(names)
    return None


def _spread_seg_classes(cfg: Config) -> dict:
    """Copy the mask classes of a joint model to its decode head; return their metainfo."""
    names = _class_names(cfg.get('seg_classes') or ('background', *cfg.classes), 'seg_classes')
    metainfo = dict(seg_classes=names)
    if cfg.get('seg_palette') is not None:
        metainfo['seg_palette'] = cfg.seg_palette
    elif cfg.get('palette') is not None and len(names) == len(cfg.palette) + 1:
        metainfo['seg_palette'] = [(0, 0, 0), *cfg.palette]
    for head in walk(cfg.model.decode_head):
        if 'num_classes' in head:
            head['num_classes'] = len(names)
    return metainfo


def _spread_image_classes(cfg: Config) -> dict:
    """Copy a joint model's image classes to its classifier and loaders; return their metainfo.

    Raises:
        UserError: If they are not the boxes' and the labels would come from boxes.
    """
    names = _class_names(cfg.get('image_classes') or cfg.classes, 'image_classes')
    cfg.model.cls_head.num_classes = len(names)
    for node in walk(datasets_of(cfg)):
        if type_name(node) == 'LoadImageLabel':
            if not node.get('ann_file') and names != tuple(cfg.classes):
                raise UserError(
                    'LoadImageLabel without ann_file takes the class of a box, but image_classes '
                    'are not the classes of the boxes: give it an ann_file, a list of images and '
                    'their classes, or leave out image_classes'
                )
            node['classes'] = names
    return dict(image_classes=names)


def _class_names(names: Sequence[str], key: str) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{key} must be a list of names such as ('cat', 'dog'), got {names!r}")
    return tuple(names)


@step('output stride', "Decode heads take the backbone's output stride.")
def match_output_stride(cfg: Config) -> None:
    """Set the output stride of decode heads that have one to the backbone's.

    So a single override, `model.backbone.output_stride=8`, evaluates at another stride.
    """
    output_stride = cfg.model.get('backbone', {}).get('output_stride')
    for part in ('decode_head', 'auxiliary_head'):
        for head in walk(cfg.model.get(part)):
            if output_stride is not None and 'output_stride' in head:
                head['output_stride'] = output_stride


def walk(node: Any, *, leave_out: str | None = None) -> Iterator[dict]:
    """Yield every dict inside a config value, outermost first, but not what one key holds."""
    if isinstance(node, dict):
        yield node
        node = [value for key, value in node.items() if key != leave_out]
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from walk(item, leave_out=leave_out)


def type_name(config: Any) -> str:
    """Return the name of a type without its scope; a loop's may follow from `by_epoch`.

    Example:
        >>> type_name(dict(type='mmdet.Resize')), type_name(dict(by_epoch=False))
        ('Resize', 'IterBasedTrainLoop')
    """
    if not isinstance(config, dict):
        return type(config).__name__
    if 'by_epoch' in config and 'type' not in config:
        return 'EpochBasedTrainLoop' if config['by_epoch'] else 'IterBasedTrainLoop'
    kind = config.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')


def inner_dataset(dataset: dict) -> dict:
    """Return the config of the dataset inside wrappers such as `RepeatDataset`."""
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def datasets_of(cfg: Config, splits: Sequence[str] = SPLITS) -> list[dict]:
    """Return the configs of the datasets that read files, without wrappers, each once."""
    found: list[dict] = []
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        loaders = loader if isinstance(loader, list) else [loader] if loader else []
        for node in loaders:
            found += [
                inner
                for inner in walk(node.get('dataset', {}), leave_out='pipeline')
                if 'type' in inner and ('data_root' in inner or 'ann_file' in inner)
            ]
    return found


def metainfo_of(dataset: dict) -> dict:
    """Return a dataset's metainfo: its class's `METAINFO` overridden by the config's `metainfo`."""
    kind = dataset['type']
    if isinstance(kind, str):
        scope = DefaultScope.get_current_instance()
        with DATASETS.switch_scope_and_registry(scope.scope_name if scope else None) as registry:
            kind = registry.get(kind)
    return getattr(kind, 'METAINFO', {}) | (dataset.get('metainfo') or {})
