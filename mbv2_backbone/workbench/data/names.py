"""Names in dataset folders: splits, images, name lists, classes."""

from __future__ import annotations

import codecs
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from ...annotations.images import IMAGE_SUFFIXES
from ...common.messages import UserError, first_names
from .records import Dataset, Labelled

MADE_SPLIT = 'split_by_name'  # folder of the splits that new_config makes
CROPS = 'sample_crops'  # folder of the sample dataset's objects, sorted by class
# Ours, CVAT's masks, Darknet's, Roboflow's for Darknet, LabelMe's.
CLASS_FILES = ('classes.txt', 'labelmap.txt', 'obj.names', '_darknet.labels', 'class_names.txt')
BACKGROUND = 'background'  # of masks; in a class file, no class of boxes unless one names it
ClassNames = tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]

_SPLIT_NAMES = {
    'train': 'train', 'training': 'train', 'trainval': 'trainval',
    'val': 'val', 'valid': 'val', 'validation': 'val',
    'test': 'test', 'testing': 'test',
}  # fmt: skip
_SPLIT = re.compile(rf'(?<![a-z])({"|".join(_SPLIT_NAMES)})(?![a-z])', re.IGNORECASE)
_SPLIT_FOLDER = re.compile(rf'({"|".join(_SPLIT_NAMES)})[-_]?\d*', re.IGNORECASE)
_FLAG = re.compile(r'\s+(-1| 0| 1)$')  # VOC's class flag, padded to two characters
_ANY_FLAG = re.compile(r'\s+-?[01]$')  # the same in lists of a class, not padded by VoTT
_CLASS_LINE = re.compile(
    r'(?P<name>.*?\S)\s*'
    r'(?:[:\s]\s*(?P<rgb>\d+[,\s]+\d+[,\s]+\d+)(?:\s*:[^:]*:[^:]*)?|::[^:]*:[^:]*)?[:\s]*'
)
_NOT_DIGITS = re.compile(r'\D+')


def split_in(name: str) -> str | None:
    """Find the name of a split in the name of a file or folder.

    Example:
        >>> split_in('instances_train2017'), split_in('valid'), split_in('streetrain')
        ('train', 'val', None)
    """
    match = _SPLIT.search(name)
    return _SPLIT_NAMES[match[1].lower()] if match else None


def split_folder(name: str) -> str | None:
    """Return the split of a folder that is named like one, or like one of a year.

    Example:
        >>> split_folder('Valid'), split_folder('train2017'), split_folder('train_images')
        ('val', 'train', None)
    """
    match = _SPLIT_FOLDER.fullmatch(name)
    return _SPLIT_NAMES[match[1].lower()] if match else None


def images_in(folder: Path) -> dict[str, Path]:
    """Return the images directly in a folder, by name without suffix."""
    if not folder.is_dir():
        return {}
    paths = (path for path in sorted(folder.iterdir()) if path.name[0] != '.')
    return {path.stem: path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES}


def images_below(folder: Path) -> dict[str, Path]:
    """Return the images in a folder and its subfolders, by relative path without suffix."""
    found, seen = {}, set()
    for here, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(here) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(os.path.realpath(here))
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        below = Path(here).relative_to(folder)
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in IMAGE_SUFFIXES:
                found[(below / stem).as_posix()] = Path(here, name)
    return found


def read_names(path: Path) -> list[str]:
    """Read the names in a list by `read_text`."""
    return names_in(read_text(path))


def read_lists(
    dataset: Dataset, folder: str, annotated: Iterable[str]
) -> tuple[dict[str, Path], dict[str, list[str]]]:
    """Read the lists of splits, such as `ImageSets/Main/train.txt`.

    Args:
        dataset: Irregularities in the lists are added to its problems and notes.
        folder: `Main` or `Segmentation`.
        annotated: Names of the images with an annotation.

    Returns:
        The files and the names in them, each once, by split.
    """
    files = sorted((dataset.root / 'ImageSets' / folder).glob('*.txt'))
    lists = {
        _SPLIT_NAMES[path.stem.lower()]: path for path in files if path.stem.lower() in _SPLIT_NAMES
    }
    dataset.problems += byte_order_problems(lists.values())
    known = set(annotated)
    names = {} if lists else _names_in_class_lists(dataset, files, known)
    for split, path in lists.items():
        names[split], suffixed = [], []
        listed = read_names(path)
        if len(listed) > len({*listed}):
            name = first_names(n for n, count in Counter(listed).items() if count > 1)
            dataset.notes.append(f'{path} lists images more than once, counted once here: {name}')
        for name in dict.fromkeys(listed):
            stem, suffix = os.path.splitext(name)
            if stem in known and suffix.lower() in (*IMAGE_SUFFIXES, '.xml'):
                suffixed.append(name)
                name = stem
            names[split].append(name)
        if suffixed:
            dataset.problems.append(
                f'{path} lists {len(suffixed)} name(s) with a suffix, such as {suffixed[0]}, which '
                f'breaks training: VOC lists names without suffix. Remove it in each line'
            )
    if names:
        dataset.note_unlisted(known, chain.from_iterable(names.values()))
    return lists, names


def _names_in_class_lists(
    dataset: Dataset, files: Iterable[Path], known: Collection[str]
) -> dict[str, list[str]]:
    """Read lists of each class, `cat_train.txt`; VoTT writes only these, of names of files."""
    names: dict[str, dict[str, None]] = {}
    for path in files:
        split = _SPLIT_NAMES.get(path.stem.lower().rpartition('_')[2])
        for line in read_names(path) if split else ():
            name = _ANY_FLAG.sub('', line)
            stem = os.path.splitext(name)[0]
            names.setdefault(split, {})[stem if stem in known else name] = None
    if names:
        dataset.foreign = 'has a list for each class, but none of all images of a split'
    return {split: list(listed) for split, listed in names.items()}


def names_in(text: str) -> list[str]:
    r"""Return the names in a list; they may contain spaces.

    If each line ends in one of VOC's flags, which tell whether a class is in the image, these
    are not part of the names.

    Example:
        >>> names_in('2007_000032 -1\n2007_000039  1\n'), names_in('IMG (1)\nimage 1\n')
        (['2007_000032', '2007_000039'], ['IMG (1)', 'image 1'])
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all(map(_FLAG.search, lines)):
        return [_FLAG.sub('', line) for line in lines]
    return lines


def byte_order_problems(paths: Iterable[Path]) -> list[str]:
    """Report files that the toolboxes cannot read because they begin with a byte order mark."""
    marked = []
    for path in paths:
        with path.open('rb') as file:
            if file.read(3) == codecs.BOM_UTF8:
                marked.append(path)
    return [
        f'{path} begins with a byte order mark, which breaks training; save it as UTF-8 without it'
        for path in marked
    ]


def read_text(path: Path) -> str:
    """Read a file as UTF-8.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read as text: {error}') from error


def read_classes(root: Path) -> ClassNames:
    """Read `classes.txt` or `labelmap.txt` of a folder; empty if there is neither."""
    path = next((root / name for name in CLASS_FILES if (root / name).is_file()), None)
    return read_class_file(path) if path else ((), ())


def read_class_file(path: Path) -> ClassNames:
    """Read the names of classes.

    A line is a name, then three numbers if the class has a colour; CVAT's `labelmap.txt` has
    parts and actions behind it: `name:r,g,b:parts:actions`.

    Returns:
        The names, and a colour RGB for each; no colours if a line lacks one.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    matches = [_CLASS_LINE.fullmatch(line) for line in lines if line and not line.startswith('#')]
    names = tuple(match['name'] for match in matches)
    texts = [_NOT_DIGITS.split(match['rgb']) for match in matches if match['rgb']]
    colours = tuple(tuple(map(int, text)) for text in texts)
    return names, colours if len(colours) == len(names) else ()


def split_by_name(items: Iterable[Labelled]) -> dict[str, list[Labelled]]:
    """Take about a fifth of the images for validation, chosen by a hash of their names.

    An image keeps its split when others are added. Images sorted by class are split class by class.

    Raises:
        UserError: If there are fewer than two, or fewer than two of a class.
    """
    items = sorted(items, key=_hash)
    if len(items) < 2:
        raise UserError(f'found {len(items)} labelled image(s); at least 2 are needed for a split')
    held_out: set[Path] = set()
    for label in sorted({item.label for item in items}, key=str):
        same = [item for item in items if item.label == label]
        if len(same) < 2:
            raise UserError(
                f'{same[0].path} is the only image of its class, so none is left to validate on; '
                f'add more, or sort the images into train and val yourself'
            )
        chosen = {item.path for item in same if _hash(item) % 5 == 0}
        held_out |= chosen if 0 < len(chosen) < len(same) else {same[0].path}
    parts = {
        'train': [item for item in items if item.path not in held_out],
        'val': [item for item in items if item.path in held_out],
    }
    return {name: sorted(part, key=lambda item: item.path) for name, part in parts.items()}


def _hash(item: Labelled) -> int:
    return zlib.crc32(os.fsencode(item.path.stem))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: If it is not valid JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not valid JSON: {error}') from error
