"""Read and write datasets in the LabelMe format."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from ....annotations.boxes import Object
from ....annotations.images import imdecode
from ....common.messages import UserError
from ..names import read_json
from ..outlines import mask_to_polygons
from ..records import Annotation, Item
from .writing import Splits, images_of, moved_boxes, rounded, write_classes, write_json

_LABELME = '5.5.0'  # the version with this format


def write_labelme(root: Path, classes: Sequence[str], splits: Splits) -> list[str]:
    """Write `<split>/*.json` next to the images."""
    for split, images in splits.items():
        folder = root / split
        folder.mkdir(parents=True, exist_ok=True)
        for image in images:
            document = {
                'version': _LABELME,
                'flags': {},
                'shapes': [
                    shape
                    for group, item in enumerate(image.items, start=1)
                    for shape in _labelme_shapes(item, classes, group)
                ],
                'imagePath': image.name,
                'imageData': None,
                'imageHeight': image.size_wh[1],
                'imageWidth': image.size_wh[0],
            }
            write_json(folder / f'{Path(image.name).stem}.json', document)
    items = [item for image in images_of(splits) for item in image.items]
    return write_classes(root, classes, items) + moved_boxes('LabelMe', items)


def _labelme_shapes(item: Item, classes: Sequence[str], group: int) -> list[dict]:
    """Return a rectangle, or a polygon per part; parts of one object share a group."""
    kind = 'polygon' if item.outline else 'rectangle'
    return [
        {
            'label': classes[item.label],
            'points': [rounded(point) for point in zip(part[::2], part[1::2], strict=True)],
            'group_id': group if len(item.outline) > 1 else None,
            'description': '',
            'shape_type': kind,
            'flags': {'difficult': True} if item.is_ignored else {},
        }
        for part in item.outline or [item.box]
    ]


def read_labelme(path: Path) -> Annotation:
    """Read the JSON file of an image; shapes become boxes.

    Raises:
        UserError: If it is not in LabelMe's format.
    """
    data = read_json(path)
    shapes = data.get('shapes') if isinstance(data, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise UserError(f'{path} has no list `shapes`, as LabelMe writes it')
    size = data.get('imageWidth'), data.get('imageHeight')
    is_known = all(type(side) is int and side > 0 for side in size)
    return Annotation(_labelme_objects(shapes), size if is_known else None)


def _labelme_objects(shapes: Sequence[dict]) -> list[Object]:
    """Return the objects; as in LabelMe, shapes with the same label and group are one object."""
    groups = defaultdict(list)
    for place, shape in enumerate(shapes):
        group = shape.get('group_id')
        key = place if group is None else (str(shape.get('label')), str(group))
        groups[key].append(shape)
    return [_labelme_object(parts) for parts in groups.values()]


def _labelme_object(parts: Sequence[dict]) -> Object:
    points = [part.get('points') for part in parts]
    extents = [_mask_extent(p) if p.get('shape_type') == 'mask' else _extent(p) for p in parts]
    problems = [extent for extent in extents if isinstance(extent, str)]
    boxes, outlines = zip(*extents, strict=True) if not problems else ((), ())
    flags = [part.get('flags') for part in parts]
    label = parts[0].get('label')
    return Object(
        name='' if label is None else str(label).strip(),
        stored=points[0] if len(parts) == 1 else points,
        xyxy=[*np.min(boxes, 0).tolist()[:2], *np.max(boxes, 0).tolist()[2:]] if boxes else None,
        is_ignored=any(isinstance(flag, dict) and flag.get('difficult') for flag in flags),
        outline=list(chain.from_iterable(outlines)) if boxes and all(outlines) else None,
        problem=problems[0] if problems else '',
    )


def _extent(shape: dict) -> tuple[np.ndarray, list] | str:
    """Return the box around a shape and its outline, or why there is none.

    A circle is its centre and a point on it; only polygons have an outline.
    """
    try:
        points = np.array(shape.get('points'), float)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        return 'not four numbers'
    outline = [points.ravel().tolist()] if shape.get('shape_type') == 'polygon' else []
    if shape.get('shape_type') == 'circle' and len(points) == 2:
        radius = np.linalg.norm(points[1] - points[0])
        points = points[0] + np.array([[-radius], [radius]])
    return np.concatenate([points.min(0), points.max(0)]), outline


def _mask_extent(shape: dict) -> tuple[np.ndarray, list] | str:
    """Return the box around the pixels of a mask and their outline, or why there is none.

    The file has the part of the mask between two points, its first and its last pixel, as PNG.
    """
    try:
        left_top = np.array([int(value) for value in shape['points'][0]])
        mask = imdecode(base64.b64decode(shape['mask']), cv2.IMREAD_UNCHANGED)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, cv2.error):
        mask = None
    if mask is None or mask.ndim != 2 or left_top.shape != (2,):
        return 'without a mask that can be read'
    if not mask.any():
        return 'an empty mask'
    outline = [np.reshape(part, (-1, 2)) + left_top for part in mask_to_polygons(mask > 0)]
    points = np.concatenate(outline)
    box = np.concatenate([points.min(0), points.max(0)])
    return box, [part.ravel().tolist() for part in outline]
