"""Image sets with boxes: COCO, VOC, YOLO and LabelMe layouts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..data.annotations import Object, UnknownClass, as_box, check_coco, coco_corners, read_voc
from ..errors import UserError
from .files import (
    MADE_SPLIT,
    byte_order_problems,
    images_in,
    list_files,
    note_unlisted,
    read_classes,
    read_lists,
    read_text,
    split_folders,
    split_in,
)
from .records import Annotation, ImageSet, Labelled, Size, Source

_MAX_PROBED = 50  # images looked for, to tell in which folder those of a COCO file are

Folders = list[tuple[str | None, Path, Path]]  # split (None if lists tell it), images, annotations


def coco_files(root: Path) -> list[Path]:
    """Return COCO's annotation files; LabelMe's JSON files lie beside images of their names."""
    files = sorted(root.glob('annotations/*.json'))
    boxes = [path for path in files if path.stem.startswith('instances')]
    if files:
        return boxes or files
    inside = (path for path in root.iterdir() if path.is_dir() and path.name != MADE_SPLIT)
    folders = [root, *sorted(inside)]
    for folder in folders:
        paths = sorted(folder.glob('*.json'))
        stems = images_in(folder) if paths else {}
        files += [p for p in paths if p.stem not in stems and b'"images"' in p.read_bytes()]
    return files


def read_coco(root: Path, files: Sequence[Path]) -> ImageSet:
    """Read a set in COCO's layout: one JSON file a split, or one of all images."""
    image_set = ImageSet(root, 'coco', problems=byte_order_problems(files))
    for path in files:
        data = read_json(path)
        try:
            check_coco(data)
        except UserError as error:
            raise UserError(f'{path} {error}') from error
        names = tuple(category['name'] for category in data['categories'])
        image_set.classes = image_set.classes or names
        if names != image_set.classes:
            image_set.problems.append(
                f'{path} has the categories {names}, but others have {image_set.classes}; all '
                f'files must have the same in the same order'
            )
        split = split_in(path.stem) or split_in(path.parent.name) or path.stem
        folder = _image_folder(root, path, data['images'])
        image_set.sources[split] = Source(folder, path)
        image_set.splits[split] = _coco_items(data, folder, path, image_set)
    _note_unlisted(image_set)
    return image_set


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: If it is none.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is no JSON: {error}') from error


def _image_folder(root: Path, path: Path, images: Sequence[dict]) -> Path:
    """Return the folder in which most of the images of a COCO file are."""
    folders = [path.parent, root]
    for parent in (root, root / 'images'):
        folders += [p for p in sorted(parent.glob('*')) if p.is_dir()]
    split = split_in(path.stem) or split_in(path.parent.name)
    # Of folders with images of the same names that of the split comes first.
    folders.sort(key=lambda folder: split_in(folder.name) != split)
    names = [image['file_name'] for image in images[:_MAX_PROBED]]
    return max(folders, key=lambda folder: sum((folder / name).is_file() for name in names))


def _coco_items(data: dict, folder: Path, path: Path, image_set: ImageSet) -> list[Labelled]:
    names = {category['id']: category['name'] for category in data['categories']}
    by_image = defaultdict(list)
    for annotation in data.get('annotations', []):
        by_image[annotation['image_id']].append(annotation)
    items = []
    for image in data['images']:
        read = partial(_coco_annotation, image, by_image.pop(image['id'], []), names)
        items.append(Labelled(folder / image['file_name'], read, image_set.classes, path))
    if by_image:
        count = sum(map(len, by_image.values()))
        image_set.notes.append(f'{path} has {count} annotation(s) of images that it does not list')
    return items


def _coco_annotation(image: dict, annotations: Sequence[dict], names: dict, _: Size) -> Annotation:
    objects = []
    for item in annotations:
        if item.get('ignore', False):  # mmdet leaves these out
            continue
        box = as_box(item.get('bbox'))
        objects.append(
            Object(
                name=names.get(item['category_id'], UnknownClass(item['category_id'])),
                stored=item.get('bbox'),
                xyxy=coco_corners(box) if box else None,
                is_ignored=bool(item.get('iscrowd')),
                outline=item.get('segmentation'),
            )
        )
    return Annotation(objects, (image['width'], image['height']))


def _note_unlisted(image_set: ImageSet) -> None:
    listed = {item.path for split in image_set.splits.values() for item in split}
    for folder in {source.images for source in image_set.sources.values()}:
        image_set.unlabelled += [p for p in images_in(folder).values() if p not in listed]


def voc_folders(root: Path) -> Folders:
    """Return where a set in VOC's layout has its images and its XML files."""
    if any((root / 'Annotations').glob('*.xml')):
        return [(None, root / 'JPEGImages', root / 'Annotations')]
    return _beside(root, '*.xml')


def labelme_folders(root: Path) -> Folders:
    """Return where a set in LabelMe's layout has its images and JSON files."""
    return _beside(root, '*.json')


def _beside(root: Path, pattern: str) -> Folders:
    """Return the folders that hold annotation files of a pattern beside their images."""
    folders = [(None, root), *split_folders(root).items()]
    return [
        (split, folder, folder)
        for split, folder in folders
        if not {path.stem for path in folder.glob(pattern)}.isdisjoint(images_in(folder))
    ]


def read_voc_set(root: Path, folders: Folders) -> ImageSet:
    """Read a set in VOC's layout: an XML file an image."""
    return _read_by_image(root, 'voc', '.xml', folders, _voc_annotation)


def read_labelme(root: Path, folders: Folders) -> ImageSet:
    """Read a set in LabelMe's layout: a JSON file an image; shapes become boxes."""
    return _read_by_image(root, 'labelme', '.json', folders, _labelme_annotation)


def _read_by_image(
    root: Path,
    layout: str,
    suffix: str,
    folders: Folders,
    read: Callable[[Path], Annotation],
) -> ImageSet:
    """Read a set whose images have an annotation file each, of the same name.

    Classes are those of `classes.txt`, or all that the files name, sorted.
    """
    paths = [path for *_, folder in folders for path in sorted(folder.glob(f'*{suffix}'))]
    contents = {path: _try_to_read(read, path) for path in paths}
    sound = [content for content in contents.values() if isinstance(content, Annotation)]
    named = {item.name for content in sound for item in content.objects}
    classes = tuple(name for name in read_classes(root)[0] if name != 'background')
    image_set = ImageSet(root, layout, classes or tuple(sorted(named)))
    for split, images, folder in folders:
        by_stem = images_in(images)
        lists = list_files(root, 'Main') if split is None else {}
        image_set.problems += byte_order_problems(lists.values())
        members = read_lists(lists)
        annotated = [path.stem for path in paths if path.parent == folder and path.stem in by_stem]
        if members:
            note_unlisted(image_set, annotated, chain.from_iterable(members.values()))
        else:
            members = {split or 'all': [path.stem for path in paths if path.parent == folder]}
        for name, stems in members.items():
            image_set.sources[name] = Source(images, lists.get(name))
            image_set.splits[name] = [
                Labelled(
                    by_stem.get(stem, images / f'{stem}.jpg'),
                    partial(_content_of, contents, folder / f'{stem}{suffix}'),
                    image_set.classes,
                    folder / f'{stem}{suffix}',
                )
                for stem in stems
            ]
        image_set.unlabelled += [
            image for stem, image in by_stem.items() if folder / f'{stem}{suffix}' not in contents
        ]
    return image_set


def _try_to_read(read: Callable[[Path], Annotation], path: Path) -> Annotation | UserError:
    try:
        return read(path)
    except UserError as error:
        return error


def _content_of(contents: dict[Path, Annotation | UserError], path: Path, _: Size) -> Annotation:
    content = contents.get(path, UserError(f'{path} does not exist'))
    if isinstance(content, UserError):
        raise content
    return content


def _voc_annotation(path: Path) -> Annotation:
    try:
        stated_wh, objects = read_voc(path.read_bytes())
    except (OSError, UserError) as error:
        raise UserError(f'{path} {error}') from error
    return Annotation(objects, stated_wh)


def _labelme_annotation(path: Path) -> Annotation:
    data = read_json(path)
    shapes = data.get('shapes') if isinstance(data, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise UserError(f'{path} has no list `shapes`, as LabelMe writes it')
    size = data.get('imageWidth'), data.get('imageHeight')
    is_known = all(type(side) is int and side > 0 for side in size)
    return Annotation(_labelme_objects(shapes), size if is_known else None)


def _labelme_objects(shapes: Sequence[dict]) -> list[Object]:
    """Return the objects; shapes of one label and group are parts of one, as LabelMe has it."""
    groups = defaultdict(list)
    for place, shape in enumerate(shapes):
        group = shape.get('group_id')
        key = place if group is None else (str(shape.get('label')), str(group))
        groups[key].append(shape)
    return [_labelme_object(parts) for parts in groups.values()]


def _labelme_object(parts: Sequence[dict]) -> Object:
    points = [part.get('points') for part in parts]
    boxes = [_around(part) for part in parts]
    is_sound = None not in boxes
    is_outlined = is_sound and all(part.get('shape_type') == 'polygon' for part in parts)
    flags = [part.get('flags') for part in parts]
    return Object(
        name=str(parts[0].get('label')),
        stored=points[0] if len(parts) == 1 else points,
        xyxy=[*np.min(boxes, 0).tolist()[:2], *np.max(boxes, 0).tolist()[2:]] if is_sound else None,
        is_ignored=any(isinstance(flag, dict) and flag.get('difficult') for flag in flags),
        outline=[list(chain.from_iterable(part)) for part in points] if is_outlined else None,
    )


def _around(shape: dict) -> Sequence[float] | None:
    """Return the box around a shape of LabelMe; a circle is its centre and a point on it."""
    try:
        points = np.array(shape.get('points'), float)
    except (TypeError, ValueError):
        return None
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        return None
    if shape.get('shape_type') == 'circle' and len(points) == 2:
        radius = np.linalg.norm(points[1] - points[0])
        points = points[0] + np.array([[-radius], [radius]])
    return tuple(np.concatenate([points.min(0), points.max(0)]).tolist())
