"""Image sets in YOLO's layout: a text file an image, boxes relative to the image's size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError
from .files import images_in, read_classes, read_text, split_folders
from .records import Annotation, ImageSet, Labelled, Object, Size, Source


def yolo_folders(root: Path) -> dict[str, Path]:
    """Return the folder of images, or the list of them, of each split."""
    listed = {
        split: found
        for split in ('train', 'val', 'test')
        if (found := _resolve(root, _read_yaml(root).get(split)))
    }
    if listed:
        return listed
    folders = split_folders(root / 'images')
    if not folders:
        folders = {split: path / 'images' for split, path in split_folders(root).items()}
    folders = folders or {'all': root / 'images'}
    return {split: path for split, path in folders.items() if _has_labels(path)}


def _read_yaml(root: Path) -> dict[str, Any]:
    """Read `data.yaml`, or whatever YAML file names classes."""
    import yaml

    for path in sorted([*root.glob('*.yaml'), *root.glob('*.yml')]):
        try:
            data = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise UserError(f'{path} is no YAML: {error}') from error
        if isinstance(data, dict) and 'names' in data:
            return data
    return {}


def _resolve(root: Path, value: Any) -> Path | None:
    """Find what a YAML file calls a split; Roboflow writes `../train/images` for its own folder."""
    if not isinstance(value, str):
        return None
    base = _read_yaml(root).get('path') or '.'
    paths = [root / base / value, root / value, root / value.removeprefix('../'), Path(value)]
    return next((path for path in paths if path.exists()), None)


def _has_labels(images: Path) -> bool:
    return any(_label_file(path).is_file() for path in images_in(images).values())


def _label_file(image: Path) -> Path:
    """Return the label file of an image: `images` becomes `labels` in the path."""
    parts = list(image.with_suffix('.txt').parts)
    if 'images' in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index('images')
        parts[last] = 'labels'
    return Path(*parts)


def read_yolo(root: Path) -> ImageSet:
    """Read a set in YOLO's layout; an image without a label file is one without objects."""
    classes = _class_names(_read_yaml(root).get('names')) or read_classes(root)[0]
    image_set = ImageSet(root, 'yolo', classes)
    for split, folder in yolo_folders(root).items():
        is_list = folder.is_file()
        images = _listed(root, folder) if is_list else list(images_in(folder).values())
        image_set.sources[split] = Source(root if is_list else folder, folder if is_list else None)
        labels = {path: _label_file(path) for path in images}
        image_set.unlabelled += [path for path in images if not labels[path].is_file()]
        image_set.splits[split] = [
            Labelled(path, partial(_annotation, labels[path], classes), classes, labels[path])
            for path in images
        ]
    return image_set


def _listed(root: Path, path: Path) -> list[Path]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    return [root / line for line in lines if line]


def _class_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, dict):
        names = [names.get(i, f'class_{i}') for i in range(max(names, default=-1) + 1)]
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _annotation(path: Path, classes: Sequence[str], image_wh: Size) -> Annotation:
    if not path.is_file():
        return Annotation()
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    return Annotation([_object(words, classes, image_wh) for words in lines])


def _object(words: Sequence[str], classes: Sequence[str], image_wh: Size) -> Object:
    """Read `class x y width height` or `class x1 y1 x2 y2 x3 y3 ...`, in parts of the image."""
    stored = ' '.join(words)
    index = int(words[0]) if words[0].isdecimal() else -1
    name = classes[index] if 0 <= index < len(classes) else words[0]
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
