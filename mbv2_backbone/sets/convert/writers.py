"""Writers of annotations: COCO, VOC, YOLO and LabelMe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

from ..files import CLASS_FILES
from .outlines import area_of, bounds_of, corners_of, join_parts, pairs
from .photos import Item, Photo

Splits = Mapping[str, Sequence[Photo]]
_DIGITS = 6  # of pixels, so that sums and differences lose their noise
_LABELME = '5.5.0'  # the version whose format this is


def write_coco(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `annotations/<split>.json`; file names are relative to `images/<split>`."""
    categories = [{'id': i, 'name': name} for i, name in enumerate(classes, start=1)]
    folder = root / 'annotations'
    folder.mkdir(parents=True, exist_ok=True)
    for split, photos in splits.items():
        ids = count(1)
        images, annotations = [], []
        for image_id, photo in enumerate(photos, start=1):
            width, height = photo.size_wh
            images.append(
                {'id': image_id, 'file_name': photo.name, 'width': width, 'height': height}
            )
            annotations += [
                {'id': next(ids), 'image_id': image_id, **_coco_fields(item)}
                for item in photo.items
            ]
        document = {'images': images, 'annotations': annotations, 'categories': categories}
        _write_json(folder / f'{split}.json', document)
    return []


def _coco_fields(item: Item) -> dict:
    x1, y1, x2, y2 = item.box
    sides = x2 - x1, y2 - y1
    return {
        'category_id': item.label + 1,
        'bbox': _rounded((x1, y1, *sides)),
        'area': round(area_of(item.outline) or sides[0] * sides[1], _DIGITS),
        'iscrowd': int(item.is_ignored),
        'segmentation': [_rounded(part) for part in item.outline],
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]


def _write_json(path: Path, document: dict) -> None:
    path.write_text(json.dumps(document), encoding='ascii')  # pycocotools asks the locale


def write_voc(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `Annotations/*.xml`, `ImageSets/Main/<split>.txt` and `classes.txt`."""
    write_voc_files(root, classes, splits)
    _write_classes(root, classes)
    lost = sum(bool(item.outline) for photo in _all(splits) for item in photo.items)
    return [f'{lost} outline(s) are left out: VOC holds boxes only'] if lost else []


def write_voc_files(
    root: Path,
    classes: Sequence[str],
    splits: Splits,
    *,
    folder: str = '',
    is_segmented: bool = False,
) -> None:
    """Write the files that VOC itself has.

    Args:
        root: Folder of the set.
        classes: Names of the labels.
        splits: The images.
        folder: What the annotations call the set.
        is_segmented: Whether the images have masks; they are listed for segmentation, too, then.
    """
    members = {split: [Path(photo.name).stem for photo in splits[split]] for split in splits}
    if {'train', 'val'} <= members.keys():
        members['trainval'] = members['train'] + members['val']
    for task in ('Main', 'Segmentation') if is_segmented else ('Main',):
        lists = root / 'ImageSets' / task
        lists.mkdir(parents=True)
        for split, names in members.items():
            (lists / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names), 'utf-8')
    annotations = root / 'Annotations'
    annotations.mkdir(exist_ok=True)  # on some file systems annotations and Annotations are one
    for photo in _all(splits):
        tree = voc_tree(photo, classes, folder=folder, is_segmented=is_segmented)
        tree.write(annotations / f'{Path(photo.name).stem}.xml', encoding='utf-8')


def voc_tree(
    photo: Photo, classes: Sequence[str], *, folder: str = '', is_segmented: bool = False
) -> ElementTree.ElementTree:
    """Return VOC's annotation of an image; corners are whole pixels.

    They count from 1, with both corners inside the object. mmdet's `XMLDataset` subtracts 1 from
    all four numbers, which leaves the last pixel inside, and its VOC metric counts that pixel
    (`use_legacy_coordinate`).
    """
    root = ElementTree.Element('annotation')
    if folder:
        _add(root, folder=folder)
    _add(root, filename=f'{Path(photo.name).stem}.jpg')
    size = ElementTree.SubElement(root, 'size')
    _add(size, width=photo.size_wh[0], height=photo.size_wh[1], depth=3)
    _add(root, segmented=int(is_segmented))
    for item in photo.items:
        node = ElementTree.SubElement(root, 'object')
        _add(node, name=classes[item.label], pose='Unspecified', truncated=int(item.is_truncated))
        if item.is_occluded is not None:
            _add(node, occluded=int(item.is_occluded))
        _add(node, difficult=int(item.is_ignored))
        x1, y1, x2, y2 = (round(value) for value in item.box)
        corners = dict(xmin=x1 + 1, ymin=y1 + 1, xmax=max(x2, x1 + 1), ymax=max(y2, y1 + 1))
        _add(ElementTree.SubElement(node, 'bndbox'), **corners)
    ElementTree.indent(root)
    return ElementTree.ElementTree(root)


def _add(parent: ElementTree.Element, **fields: object) -> None:
    for name, value in fields.items():
        ElementTree.SubElement(parent, name).text = str(value)


def write_yolo(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `labels/<split>/*.txt` and `data.yaml`.

    Rows are polygons where any object of the set has an outline, as Ultralytics' reader wants
    boxes or polygons throughout; a box is then a polygon of four corners.
    """
    import yaml

    items = [item for photo in _all(splits) for item in photo.items]
    kept = [item for item in items if not item.is_ignored]
    has_outlines = any(item.outline for item in kept)
    row = _polygon_row if has_outlines else _box_row
    for split, photos in splits.items():
        folder = root / 'labels' / split
        folder.mkdir(parents=True)
        for photo in photos:
            rows = [row(item, photo.size_wh) for item in photo.items if not item.is_ignored]
            (folder / f'{Path(photo.name).stem}.txt').write_text(''.join(rows), 'utf-8')
    config = {split: f'images/{split}' for split in splits}
    config |= {'nc': len(classes), 'names': dict(enumerate(classes))}
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    (root / 'data.yaml').write_text(text, encoding='utf-8')
    return _yolo_notes(splits, len(items) - len(kept), kept if has_outlines else ())


def _box_row(item: Item, size_wh: tuple[int, int]) -> str:
    x1, y1, x2, y2 = item.box
    return _row(item.label, [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], size_wh)


def _polygon_row(item: Item, size_wh: tuple[int, int]) -> str:
    points = join_parts(item.outline) if item.outline else corners_of(item.box)
    return _row(item.label, points, size_wh)


def _row(label: int, numbers: Sequence[float], size_wh: tuple[int, int]) -> str:
    shares = (f'{value / size_wh[i % 2]:.9g}' for i, value in enumerate(numbers))
    return f'{label} {" ".join(shares)}\n'


def _yolo_notes(splits: Splits, num_ignored: int, polygons: Sequence[Item]) -> list[str]:
    notes = []
    if num_ignored:
        notes.append(
            f'{num_ignored} difficult object(s) or crowd(s) are left out, as by the converters of '
            f'Ultralytics: YOLO has no such flag'
        )
    notes += [
        f'there is no split {split!r}, which Ultralytics asks for in data.yaml'
        for split in ('train', 'val')
        if split not in splits
    ]
    return notes + _moved_boxes('YOLO', polygons)


def _moved_boxes(layout: str, items: Sequence[Item]) -> list[str]:
    """Tell how many boxes are not those around their outlines, which take their place."""
    moved = [
        max(abs(a - b) for a, b in zip(bounds_of(item.outline), item.box, strict=True))
        for item in items
        if item.outline
    ]
    count = sum(distance > 1 for distance in moved)
    if not count:
        return []
    return [
        f'{count} box(es) become those around their outlines, by up to {max(moved):.1f} pixels: '
        f'{layout} does not hold both'
    ]


def write_labelme(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `<split>/*.json` beside the images."""
    for split, photos in splits.items():
        folder = root / split
        folder.mkdir(parents=True, exist_ok=True)
        for photo in photos:
            document = {
                'version': _LABELME,
                'flags': {},
                'shapes': [
                    shape
                    for group, item in enumerate(photo.items, start=1)
                    for shape in _labelme_shapes(item, classes, group)
                ],
                'imagePath': photo.name,
                'imageData': None,
                'imageHeight': photo.size_wh[1],
                'imageWidth': photo.size_wh[0],
            }
            _write_json(folder / f'{Path(photo.name).stem}.json', document)
    _write_classes(root, classes)
    return _moved_boxes('LabelMe', [item for photo in _all(splits) for item in photo.items])


def _labelme_shapes(item: Item, classes: Sequence[str], group: int) -> list[dict]:
    """Return a rectangle, or a polygon for each part; parts of one object share a group."""
    kind = 'polygon' if item.outline else 'rectangle'
    return [
        {
            'label': classes[item.label],
            'points': [_rounded(point) for point in pairs(part)],
            'group_id': group if len(item.outline) > 1 else None,
            'description': '',
            'shape_type': kind,
            'flags': {'difficult': True} if item.is_ignored else {},
        }
        for part in item.outline or [item.box]
    ]


def _write_classes(root: Path, classes: Sequence[str]) -> None:
    """Write the names in their order, which the layout itself does not hold."""
    (root / CLASS_FILES[0]).write_text(''.join(f'{name}\n' for name in classes), 'utf-8')


def _all(splits: Splits) -> list[Photo]:
    return [photo for photos in splits.values() for photo in photos]


WRITERS: dict[str, Callable[[Path, Sequence[str], Splits], list[str]]] = {
    'coco': write_coco,
    'voc': write_voc,
    'yolo': write_yolo,
    'labelme': write_labelme,
}
