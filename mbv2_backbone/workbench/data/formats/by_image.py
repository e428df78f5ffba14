"""Read datasets with boxes in COCO, VOC, YOLO and LabelMe format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ....common.messages import UserError
from ..names import images_in, read_classes, read_lists
from ..records import Annotation, Dataset, Labelled, Size, Source

Folders = list[tuple[str | None, Path, Path]]  # split (None if lists give it), images, annotations
Contents = dict[Path, Annotation | UserError]


def folders_with(pattern: str, root: Path, splits: Mapping[str, Path]) -> Folders:
    """Return the folders with annotation files of a pattern next to their images."""
    folders = [(None, root), *splits.items()]
    return [
        (split, folder, folder)
        for split, folder in folders
        if not {path.stem for path in folder.glob(pattern)}.isdisjoint(images_in(folder))
    ]


def read_by_image(
    format_name: str,
    suffix: str,
    read: Callable[[Path], Annotation],
    root: Path,
    folders: Folders,
    *,
    settle: Callable[[Dataset, Contents], None] | None = None,
) -> Dataset:
    """Read a dataset in which each image has an annotation file of the same name.

    Classes are those in `classes.txt`, or else all names in the annotations, sorted. `settle`
    decides, in place, what no file tells alone.
    """
    paths = [path for *_, folder in folders for path in sorted(folder.glob(f'*{suffix}'))]
    contents = {path: _try_to_read(read, path) for path in paths}
    sound = [content for content in contents.values() if isinstance(content, Annotation)]
    named = {item.name for content in sound for item in content.objects if item.name}
    classes = tuple(name for name in read_classes(root)[0] if name != 'background')
    dataset = Dataset(root, format_name, classes or tuple(sorted(named)))
    if settle:
        settle(dataset, contents)
    for split, images, folder in folders:
        by_stem = images_in(images)
        own = [path.stem for path in paths if path.parent == folder]
        annotated = [stem for stem in own if stem in by_stem]
        lists, members = read_lists(dataset, 'Main', annotated) if split is None else ({}, {})
        members = members or {split or 'all': own}
        for name, stems in members.items():
            dataset.sources[name] = Source(images, lists.get(name))
            dataset.splits[name] = [
                Labelled(
                    by_stem.get(stem, images / f'{stem}.jpg'),
                    partial(_content_of, contents, folder / f'{stem}{suffix}'),
                    dataset.classes,
                    folder / f'{stem}{suffix}',
                )
                for stem in stems
            ]
        dataset.unlabelled += [
            image for stem, image in by_stem.items() if folder / f'{stem}{suffix}' not in contents
        ]
    return dataset


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
