"""Read YOLO datasets: a text file per image, boxes relative to the image size."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ....annotations.boxes import Object, UnknownClass
from ....common.messages import UserError
from ..names import CLASS_FILES, images_below, images_in, read_classes, read_text
from ..outlines import join_parts
from ..records import Annotation, Dataset, Item, Labelled, Size, Source
from ..tree import Tree
from .writing import Splits, images_of, moved_boxes
from .yolo_files import YoloFiles, begins_with_row, label_file, resolve
from .yolo_rows import YoloRows

_SCORES = 'a sixth column, from 0 to 1, is taken for a score and left out'


def read_yolo(tree: Tree, files: YoloFiles) -> Dataset:
    """Read a dataset in YOLO's format; an image without a label file has no objects.

    Raises:
        UserError: If `data.yaml` names files that are missing, or its names are not valid.
    """
    root = tree.root
    places = [root, *files.labels.values()]
    given = next(filter(any, map(read_classes, places)), ((), ()))[0]
    classes = _class_names(root, files.names) or given
    dataset = Dataset(root, 'yolo', classes)
    _judge_missing(dataset, files.missing)
    label_files: list[Path] = []
    rows = YoloRows(label_files, kpt_shape=files.kpt_shape, is_outlined=files.is_outlined)
    if files.kpt_shape is not None:
        dataset.notes.append(f'`kpt_shape` in the YAML file of {root}: key points are left out')
    for split, places in files.places.items():
        lists = [place for place in places if place.is_file()]
        is_folder = len(places) == 1 and not lists
        dataset.sources[split] = Source(
            places[0] if is_folder else root, lists[0] if lists else None
        )
        images = dict.fromkeys(path for place in places for path in _images_of(root, place))
        labels = {path: label_file(path, files.labels) for path in images}
        label_files += labels.values()
        dataset.unlabelled += [path for path in labels if not labels[path].is_file()]
        alone = _labels_alone(places, files.labels, labels.values())
        if alone:
            dataset.notes.append(
                f'{split}: {len(alone)} label file(s) without an image, such as {alone[0]}'
            )
        dataset.splits[split] = [
            Labelled(path, partial(_annotation, label, classes, rows), classes, label)
            for path, label in labels.items()
        ]
    return dataset


def _labels_alone(
    places: Iterable[Path], folders: Mapping[Path, Path], known: Iterable[Path]
) -> list[Path]:
    """Return the files of labels without an image; beside images, other texts may lie, too."""
    labels = {label_file(place / 'x', folders).parent for place in places if not place.is_file()}
    files = {
        os.path.join(here, name)
        for folder in labels
        for here, _, names in os.walk(folder)
        for name in names
        if name.endswith('.txt') and name not in CLASS_FILES
    }
    alone = sorted(files.difference(map(str, known)))
    return [path for path in map(Path, alone) if begins_with_row(path)]


def _judge_missing(dataset: Dataset, missing: Mapping[str, Sequence[str]]) -> None:
    """Reject a dataset with missing splits; exports often name a `test` that does not exist."""
    for split, names in missing.items():
        text = f'`{split}: {", ".join(names)}` in the YAML file of {dataset.root} is not there'
        if split != 'test':
            raise UserError(f'{text}; correct the path of its images')
        dataset.notes.append(f'{text}; skipped')


def _images_of(root: Path, place: Path) -> list[Path]:
    if place == root:  # the folders inside are places of their own
        return list(images_in(place).values())
    if not place.is_file():
        return list(images_below(place).values())
    lines = [line.strip() for line in read_text(place).splitlines()]
    return [resolve(root, '.', line) or root / line for line in lines if line]


def _class_names(root: Path, names: Any) -> tuple[str, ...]:
    if isinstance(names, dict):
        try:
            by_index = {int(index): name for index, name in names.items()}
            names = [by_index[i] for i in range(len(names))]
        except (TypeError, ValueError, KeyError):
            raise UserError(
                f'`names` in the YAML file of {root} has the keys {", ".join(map(str, names))}; '
                f'expected 0, 1, …'
            ) from None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _annotation(path: Path, classes: Sequence[str], rows: YoloRows, image_wh: Size) -> Annotation:
    if not path.is_file():
        return Annotation()
    found = rows.read(path)
    scored = [words for words in found if len(words) == 6]
    has_scores = bool(scored) and all(map(_is_score, scored))
    objects = [
        _object(words[:5] if has_scores and len(words) == 6 else words, classes, image_wh)
        for words in found
    ]
    return Annotation(objects, notes=(_SCORES,) if has_scores else ())


def _is_score(words: Sequence[str]) -> bool:
    try:
        return 0 <= float(words[-1]) <= 1
    except ValueError:
        return False


def _class_of(word: str, classes: Sequence[str]) -> str | UnknownClass:
    """Return the class of an index, which may be written `0.000000`, or of a name."""
    try:
        index = float(word)
    except ValueError:
        return word if word in classes else UnknownClass(word)
    is_known = index.is_integer() and 0 <= index < len(classes)
    return classes[int(index)] if is_known else UnknownClass(word)


def _object(words: Sequence[str], classes: Sequence[str], image_wh: Size) -> Object:
    """Read `class x y width height` or `class x1 y1 x2 y2 x3 y3 ...`, relative to the image."""
    stored = ' '.join(words)
    name = _class_of(words[0], classes)
    try:
        values = [float(word) for word in words[1:]]
    except ValueError:
        return Object(name, stored, None)
    sides = image_wh * (len(values) // 2)
    outline = None
    if len(values) == 4:
        x, y, w, h = (part * side for part, side in zip(values, sides, strict=True))
        corners = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    elif len(values) >= 6 and len(values) % 2 == 0:
        outline = [[part * side for part, side in zip(values, sides, strict=True)]]
        xs, ys = outline[0][::2], outline[0][1::2]
        corners = min(xs), min(ys), max(xs), max(ys)
    else:
        return Object(name, stored, None)
    return Object(name, stored, corners, outline=outline)


def write_yolo(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `labels/<split>/*.txt` and `data.yaml`.

    Rows are polygons if any object of the dataset has an outline, as Ultralytics' reader needs
    either boxes or polygons throughout; a box is then a polygon with four corners.
    """
    import yaml

    items = [item for image in images_of(splits) for item in image.items]
    kept = [item for item in items if not item.is_ignored]
    has_outlines = any(item.outline for item in kept)
    row = _polygon_row if has_outlines else _box_row
    for split, images in splits.items():
        folder = root / 'labels' / split
        folder.mkdir(parents=True)
        for image in images:
            rows = [row(item, image.size_wh) for item in image.items if not item.is_ignored]
            (folder / f'{Path(image.name).stem}.txt').write_text(''.join(rows), 'utf-8')
    config = {split: f'images/{split}' for split in splits}
    config |= {'task': 'segment'} if has_outlines else {}  # for `YoloRows`; others skip it
    config |= {'nc': len(classes), 'names': dict(enumerate(classes))}
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    (root / 'data.yaml').write_text(text, encoding='utf-8')
    return _yolo_notes(splits, len(items) - len(kept), kept if has_outlines else ())


def _box_row(item: Item, size_wh: tuple[int, int]) -> str:
    x1, y1, x2, y2 = item.box
    return _row(item.label, [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], size_wh)


def _polygon_row(item: Item, size_wh: tuple[int, int]) -> str:
    x1, y1, x2, y2 = item.box
    points = join_parts(item.outline) if item.outline else [x1, y1, x2, y1, x2, y2, x1, y2]
    return _row(item.label, points, size_wh)


def _row(label: int, numbers: Sequence[float], size_wh: tuple[int, int]) -> str:
    shares = (f'{value / size_wh[i % 2]:.9g}' for i, value in enumerate(numbers))
    return f'{label} {" ".join(shares)}\n'


def _yolo_notes(splits: Splits, num_ignored: int, polygons: Sequence[Item]) -> list[str]:
    notes = []
    if num_ignored:
        notes.append(
            f'{num_ignored} difficult object(s) or crowd(s) are skipped, as by the converters of '
            f'Ultralytics: YOLO has no such flag'
        )
    notes += [
        f'there is no split {split!r}, which Ultralytics requires in data.yaml'
        for split in ('train', 'val')
        if split not in splits
    ]
    return notes + moved_boxes('YOLO', polygons)
