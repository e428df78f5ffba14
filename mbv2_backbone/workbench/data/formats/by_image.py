"""Read datasets with an annotation file per image, in VOC and LabelMe format."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from ....common.messages import UserError, first_names
from ..names import BACKGROUND, read_classes, read_lists
from ..records import Annotation, Dataset, Labelled, Size, Source
from ..tree import Folder, Tree

Contents = dict[Path, Annotation | UserError]


class Pair(NamedTuple):
    """A folder with images and one, often the same, with their annotations.

    Attributes:
        images: The folder of the images.
        annotations: The folder of the annotations.
    """

    images: Folder
    annotations: Folder

    @property
    def split(self) -> str | None:
        """The split that the folders are named after."""
        return self.images.split or self.annotations.split

    def name_of(self, stem: str) -> str:
        """Return the name of an image in lists: with the folders inside `Annotations`."""
        return '/'.join((*self.annotations.parts[1:], stem))


def pairs_with(tree: Tree, suffix: str, mark: bytes) -> list[Pair]:
    """Return the folders whose annotation files of a suffix have a mark of their format."""
    return [
        Pair(images, folder)
        for images, folder in tree.pairs(suffix)
        if mark
        in next(p for s, p in folder.named(suffix).items() if s in images.images).read_bytes()
    ]


def read_by_image(
    format_name: str,
    suffix: str,
    read: Callable[[Path], Annotation],
    tree: Tree,
    pairs: list[Pair],
    *,
    settle: Callable[[Dataset, Contents], None] | None = None,
) -> Dataset:
    """Read a dataset in which each image has an annotation file of the same name.

    Classes are those in `classes.txt`, or else all names in the annotations, sorted. `settle`
    decides, in place, what no file tells alone.
    """
    files = {pair.annotations.path: pair.annotations.named(suffix) for pair in pairs}
    paths = [path for folder in files.values() for path in folder.values()]
    contents = {path: _try_to_read(read, path) for path in paths}
    sound = [content for content in contents.values() if isinstance(content, Annotation)]
    named = {item.name for content in sound for item in content.objects if item.name}
    places = [tree.root, *files]
    given = next(filter(any, map(read_classes, places)), ((), ()))[0]
    classes = tuple(name for name in given if name != BACKGROUND or name in named)
    dataset = Dataset(tree.root, format_name, classes or tuple(sorted(named)))
    if settle:
        settle(dataset, contents)

    def labelled(image: Path, annotation: Path) -> Labelled:
        read_one = partial(_content_of, contents, annotation)
        return Labelled(image, read_one, dataset.classes, annotation)

    by_name: dict[str, Labelled] = {}
    folders = defaultdict(list)
    for pair, image, annotation in sorted(_matched(pairs, files), key=itemgetter(2)):
        item = by_name[pair.name_of(annotation.stem)] = labelled(image, annotation)
        dataset.splits.setdefault(pair.split or 'all', []).append(item)
        folders[pair.split or 'all'].append(image.parent)
    used = {item.path for item in by_name.values()} | {i.path for i in dataset.images}
    dataset.unlabelled = [p for pair in pairs for p in pair.images.images.values() if p not in used]
    unused = sorted(set(paths).difference(item.annotation for item in dataset.images))
    if unused:
        dataset.notes.append(
            f'{len(unused)} annotation file(s) are not used, as their images have others: '
            f'{first_names(map(str, unused))}'
        )
    dataset.sources = {split: Source(_common(paths)) for split, paths in folders.items()}
    if dataset.splits.keys() == {'all'}:
        _apply_lists(dataset, by_name, labelled, Path(pairs[0].annotations.path, f'*{suffix}'))
    return dataset


def _matched(
    pairs: list[Pair], files: dict[Path, dict[str, Path]]
) -> Iterator[tuple[Pair, Path, Path]]:
    """Yield each image with its annotation once; an image that is missing is a `.jpg`."""
    left = {folder: dict(own) for folder, own in files.items()}
    taken: set[Path] = set()
    for pair in pairs:
        own = left[pair.annotations.path]
        for stem, image in pair.images.images.items():
            if stem in own and image not in taken:
                taken.add(image)
                yield pair, image, own.pop(stem)
    for pair in pairs:
        for stem, path in left.pop(pair.annotations.path, {}).items():
            if stem not in pair.images.images:
                yield pair, pair.images.path / f'{stem}.jpg', path


def _apply_lists(
    dataset: Dataset,
    by_name: dict[str, Labelled],
    labelled: Callable[[Path, Path], Labelled],
    pattern: Path,
) -> None:
    """Split a dataset by the lists in `ImageSets/Main`, if there are any, in place."""
    annotated = [name for name, item in by_name.items() if item.path.is_file()]
    lists, listed = read_lists(dataset, 'Main', annotated)
    images = dataset.sources['all'].images
    for split, names in listed.items():
        dataset.sources[split] = Source(images, lists.get(split))
        dataset.splits[split] = [
            by_name.get(name)
            or labelled(images / f'{name}.jpg', pattern.with_name(f'{name}{pattern.suffix}'))
            for name in names
        ]
    if listed:
        del dataset.splits['all'], dataset.sources['all']


def _common(folders: Iterable[Path]) -> Path:
    return Path(os.path.commonpath(set(folders)))


def _try_to_read(read: Callable[[Path], Annotation], path: Path) -> Annotation | UserError:
    try:
        return read(path)
    except UserError as error:
        return error


def _content_of(contents: Contents, path: Path, _: Size) -> Annotation:
    content = contents.get(path, UserError(f'{path} does not exist'))
    if isinstance(content, UserError):
        raise content
    return content
