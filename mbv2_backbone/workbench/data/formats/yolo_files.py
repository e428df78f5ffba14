"""Find the files of a YOLO dataset: by `data.yaml`, Darknet's `obj.data` or their places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PureWindowsPath
from typing import Any

from ....common.messages import UserError
from ...configs.read import SPLITS
from ..names import read_class_file, read_text, split_folder
from ..tree import Folder, Tree

_NAMES = re.compile(rb'^names\s*:', re.MULTILINE)
_DATA = re.compile(r'^\s*(\w+)\s*=\s*(.*\S)', re.MULTILINE)
_NUMBERS = rb'(?:[ \t,;]+[-+]?\.?\d[-+.\deE]*){4}'
# A class and four numbers; a class by its name has no more, as KITTI's rows have.
_ROW = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*(?:\d+(?:\.0*)?%b|[^\s,;]+%b\s*$)' % (_NUMBERS, _NUMBERS), re.MULTILINE
)
_HEAD = 300  # bytes
_MAX_PROBED = 50  # label files read until one begins with a row
_NULL = ('', '~', 'null', 'Null', 'NULL')


@dataclass(frozen=True)
class YoloFiles:
    """The contents of a folder in YOLO's format.

    Attributes:
        names: Class names, as in `data.yaml`.
        places: For each split, folders of images or lists of them.
        missing: What `data.yaml` names as a split but does not exist.
        labels: The folder with the labels of each folder of images, where they are not where
            Ultralytics looks for them.
        kpt_shape: Key points of poses, as in `data.yaml`.
        is_outlined: Whether `data.yaml` says `task: segment`.
    """

    names: Any
    places: dict[str, list[Path]]
    missing: dict[str, list[str]]
    labels: Mapping[Path, Path]
    kpt_shape: Any = None
    is_outlined: bool = False


def yolo_files(tree: Tree) -> YoloFiles | None:
    """Return where the images of each split are; `None` if nothing is in YOLO's format."""
    root = tree.root
    config = _read_yaml(root) or _read_darknet(root)
    base = str(config.get('path') or '.')
    places: dict[str, list[Path]] = {}
    missing: dict[str, list[str]] = {}
    for split in SPLITS:
        for name in _as_list(config.get(split)):
            path = resolve(root, base, name)
            if path:
                places.setdefault(split, []).append(path)
            else:
                missing.setdefault(split, []).append(name)
    pairs = _pairs_with_rows(tree)
    labels = {images.path: folder.path for images, folder in pairs}
    if not places and not missing:
        for images, folder in pairs:
            split = images.split or folder.split or 'all'
            # Images below the folder of a split or kind may have no label at all.
            depth = 2 if any(map(split_folder, images.parts[:2])) else 1
            places.setdefault(split, []).append(root.joinpath(*images.parts[:depth]))
    if not places and not missing:
        return None
    return YoloFiles(
        config.get('names'),
        places,
        missing,
        labels,
        kpt_shape=config.get('kpt_shape'),
        is_outlined=config.get('task') == 'segment',
    )


def _pairs_with_rows(tree: Tree) -> list[tuple[Folder, Folder]]:
    """Return the folders of images and labels; if any labels are rows, empty ones are labels."""
    pairs = tree.pairs('.txt')
    rows = [_has_rows(*pair) for pair in pairs]
    return (
        [p for p, has in zip(pairs, rows, strict=True) if has is not False] if True in rows else []
    )


def _has_rows(images: Folder, labels: Folder) -> bool | None:
    """Return whether any of the first labels begins with a row; `None` if all are empty."""
    paths = (path for stem, path in labels.named('.txt').items() if stem in images.images)
    filled = islice((path for path in paths if path.stat().st_size), _MAX_PROBED)
    found = list(map(begins_with_row, filled))
    return any(found) if found else None


def begins_with_row(path: Path) -> bool:
    """Return whether a text file begins with a class and four numbers."""
    with path.open('rb') as file:
        return bool(_ROW.match(file.read(_HEAD)))


def _read_darknet(root: Path) -> dict[str, Any]:
    """Read `obj.data` of Darknet's format, in which `valid` is the split to validate on."""
    for path in sorted(root.glob('*.data')):
        fields = dict(_DATA.findall(read_text(path)))
        if 'names' in fields and 'train' in fields:
            names = resolve(root, '.', fields['names'])
            own = {split: fields.get(split) for split in SPLITS}
            own['val'] = own['val'] or fields.get('valid')
            return own | {'names': list(read_class_file(names)[0]) if names else None}
    return {}


def _read_yaml(root: Path) -> dict[str, Any]:
    """Read `data.yaml`, or any YAML file that names classes; `yes`, `no` and `1e3` stay text."""
    import yaml

    for path in sorted([*root.glob('*.yaml'), *root.glob('*.yml')]):
        if path.stem != 'data' and not _NAMES.search(path.read_bytes()):
            continue
        try:
            data = yaml.load(read_text(path), Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise UserError(f'{path} is not valid YAML: {error}') from error
        if isinstance(data, dict) and 'names' in data:
            return data
    return {}


def _as_list(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(value) for value in values if value is not None and value not in _NULL]


def resolve(root: Path, base: str, name: str) -> Path | None:
    """Find what a file names: in a folder, or in what is left of a path of another machine.

    Roboflow writes `../train/images` for its own folder, CVAT `data/train.txt`.
    """
    parts = PureWindowsPath(name).parts
    ends = (root.joinpath(*parts[i:]) for i in range(1, len(parts)))
    own = [root / base / name, root / name, root / name.removeprefix('../'), Path(name)]
    found = (path for path in chain(own, ends) if path.exists())
    # A folder needs two of its names: `images` alone may be that of another split.
    return next((p for p in found if p in own or p.is_file() or p.parent != root), None)


def label_file(image: Path, folders: Mapping[Path, Path]) -> Path:
    """Return the label file of an image: in the folder found, else `images` becomes `labels`."""
    if image.parent in folders:
        return folders[image.parent] / f'{image.stem}.txt'
    parts = list(image.with_suffix('.txt').parts)
    if 'images' in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index('images')
        parts[last] = 'labels'
    return Path(*parts)
