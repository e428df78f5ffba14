"""Read VOC XML and COCO JSON annotations, validating everything in them."""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any
from xml.etree import ElementTree

from ..common.messages import UserError, first_names

Box = tuple[float, float, float, float]

MAX_PIXELS_ON_SIDE = 2**20  # OpenCV's limit
_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
_ENCODING = re.compile(rb'\s*<\?xml[^>]*\bencoding\s*=\s*["\']([\w.-]+)')
_NO_OBJECTS = ('source', 'size', 'owner')  # elements of VOC with elements inside


def box_problem(xyxy: Sequence[float], image_wh: tuple[int, int] | None = None) -> str | None:
    """Tell why a box cannot be trained on.

    Args:
        xyxy: Corners in pixels, right and lower edge excluded.
        image_wh: Width and height of the image, if known.

    Returns:
        `not finite`, `inverted`, `zero area`, `outside the image`, or `None` if the box is valid.

    Example:
        >>> box_problem((4, 4, 4, 9)), box_problem((4, 4, 8, 9))
        ('zero area', None)
    """
    if not all(isfinite(value) for value in xyxy):
        return 'not finite'
    x1, y1, x2, y2 = xyxy
    if x2 < x1 or y2 < y1:
        return 'inverted'
    if x2 == x1 or y2 == y1:
        return 'zero area'
    if x2 <= 0 or y2 <= 0:
        return 'outside the image'
    if image_wh is not None and (x1 >= image_wh[0] or y1 >= image_wh[1]):
        return 'outside the image'
    return None


def voc_corners(box: Box, counts_from: int = 1) -> Box:
    """Convert VOC's corners, counted from 1, to mmdet's: whole pixels counted from 0.

    Corners that count from 0 already are edges, whose fractions are kept.
    """
    if counts_from == 0:
        return box
    return tuple(int(value) - 1 if isfinite(value) else value for value in box)


def begins_at_zero(box: Sequence[float] | None) -> bool:
    """Tell whether a box has an edge at 0, which corners that count from 1 cannot have."""
    return box is not None and min(box[:2]) == 0 and box_problem(box) is None


def coco_corners(box: Box) -> Box:
    """Convert COCO's left, top, width and height to corners."""
    x, y, w, h = box
    return x, y, x + w, y + h


def cut_box(xyxy: Sequence[float], image_wh: tuple[int, int] | None) -> Box:
    """Clip a box to its image; if the size is unknown, only at the left and upper edges."""
    width, height = image_wh or (float('inf'), float('inf'))
    x1, y1, x2, y2 = xyxy
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)


def as_box(values: Any) -> Box | None:
    """Return four numbers as floats, or `None` if the values are not exactly four numbers."""
    if not isinstance(values, (list, tuple)) or len(values) != 4:
        return None
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        return None
    try:
        return tuple(float(value) for value in values)
    except OverflowError:
        return None


@dataclass(frozen=True)
class UnknownClass:
    """Placeholder for the class of an object with an unknown class id; equals no class name."""

    number: int | str

    def __repr__(self) -> str:
        return repr(self.number)


@dataclass(frozen=True)
class Object:
    """An annotated object, as stored in its file.

    Attributes:
        name: The name of its class; empty if the file gives none.
        stored: The box exactly as in the file, for messages.
        xyxy: Its corners in pixels counted from 0, right and lower edge excluded; `None` if the
            file has no valid numbers for a box.
        is_ignored: Difficult (VOC), a crowd or to be ignored (COCO): excluded from the loss.
        outline: In COCO's format: a list of x, y, x, y, … for each part, or run lengths.
        problem: Why there is no box, if `xyxy` is `None`.
    """

    name: str | UnknownClass
    stored: Any
    xyxy: Sequence[float] | None
    is_ignored: bool = False
    outline: Any = None
    problem: str = 'not four numbers'


def read_voc(data: bytes, *, counts_from: int = 1) -> tuple[tuple[int, int] | None, list[Object]]:
    """Read a VOC annotation.

    Args:
        data: The XML file. Namespaces are ignored, and whatever has a `bndbox` is an object.
        counts_from: The number of the first pixel.

    Returns:
        Width and height, or `None` if the file gives none or 0; the objects.

    Raises:
        UserError: If it is empty or not XML.
    """
    if not data.strip():
        raise UserError('is empty')
    root = _parse_xml(data)
    if b'xmlns' in data:
        for element in root.iter():
            element.tag = element.tag.rpartition('}')[2]
    width, height = (_whole(root.findtext(f'size/{key}')) for key in ('width', 'height'))
    is_known = 0 < width <= MAX_PIXELS_ON_SIDE and 0 < height <= MAX_PIXELS_ON_SIDE
    items = list(_voc_items(root))
    if not items:  # another program's elements, which are counted and named
        items = [item for item in root if len(item) and item.tag not in _NO_OBJECTS]
    return ((width, height) if is_known else None), [_voc_object(i, counts_from) for i in items]


def _parse_xml(data: bytes) -> ElementTree.Element:
    """Parse XML; encodings that expat does not know, such as `utf8`, are decoded by Python."""
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        declared = _ENCODING.match(data)
        try:
            return ElementTree.fromstring(data.decode(declared[1].decode() if declared else ''))
        except (ElementTree.ParseError, ValueError, LookupError):
            raise UserError(f'is not XML: {error}') from error


def _voc_items(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for item in root:  # not the parts inside an object, such as a head
        if _is_voc_item(item):
            yield item
        else:
            yield from filter(_is_voc_item, item)


def _is_voc_item(item: ElementTree.Element) -> bool:
    return item.tag == 'object' or item.find('bndbox') is not None


def _voc_object(item: ElementTree.Element, counts_from: int) -> Object:
    place = item.find('bndbox')
    stored = tuple(_number((item if place is None else place).findtext(key)) for key in _CORNERS)
    box = as_box(stored)
    found = ''.join(f'<{child.tag}>' for child in item if len(child)) or f'<{item.tag}>'
    return Object(
        name=(item.findtext('name') or '').strip(),
        stored=stored if box else found if place is None else None,
        xyxy=voc_corners(box, counts_from) if box else None,
        # A value that is not an integer counts as missing.
        is_ignored=bool(_whole(item.findtext('difficult'))),
        problem='without a bndbox' if place is None else 'not four numbers',
    )


def _number(text: str | None) -> float | None:
    """Return a number, an `int` if it is written as one."""
    if text is None or '_' in text or not text.isascii():  # Python-only notation, other digits
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if text.strip('+- \n\t').isdigit() and isfinite(number) else number


def _whole(text: str | None) -> int:
    number = _number(text)
    return int(number) if number is not None and isfinite(number) else 0


def check_coco(data: Any, *, with_files: bool = True) -> None:
    """Reject a COCO annotation file whose entries lack required fields or repeat an id.

    Boxes and the annotations' own ids, to which nothing refers, are not checked. A file without
    `annotations` lists images to be tested.

    Args:
        data: The parsed JSON.
        with_files: Whether the images need a name and a size.

    Raises:
        UserError: It says which entry is wrong and why.
    """
    if not isinstance(data, dict):
        raise UserError(f'holds a {type(data).__name__}; expected images, annotations, categories')
    for part in ('images', 'categories', 'annotations'):
        entries = data.get(part, [] if part == 'annotations' else None)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f'has no list `{part}`; expected images, annotations, categories')
        if part != 'annotations':
            _check_ids(part, entries)
    _refuse_doubles('categories named', (entry.get('name') for entry in data['categories']))
    for entry in data['categories']:
        if not isinstance(entry.get('name'), str) or not entry['name'].strip():
            raise UserError(f'has a category {entry["id"]!r} without a name')
    for entry in data['images'] if with_files else ():
        if not isinstance(entry.get('file_name'), str):
            raise UserError(f'has an image {entry["id"]!r} without a file_name')
        for side in ('width', 'height'):
            size = entry.get(side)
            if type(size) is not int or not 0 < size <= MAX_PIXELS_ON_SIDE:
                raise UserError(
                    f'gives {side} {size!r} for {entry["file_name"]}; expected a number of pixels'
                )
    for entry in data.get('annotations', []):
        for key in ('image_id', 'category_id'):
            if not _is_id(entry.get(key)):
                raise UserError(f'has an annotation without {key}: {str(entry)[:80]}')


def images_listed_twice(images: Iterable[dict]) -> dict[str, list[Any]]:
    """Return the ids of images that have several entries in a COCO file, by file name.

    Label Studio lists an image once for each annotator.
    """
    ids = defaultdict(list)
    for image in images:
        ids[posixpath.normpath(image['file_name'].replace('\\', '/'))].append(image['id'])
    return {name: same for name, same in ids.items() if len(same) > 1}


def _check_ids(part: str, entries: list[dict]) -> None:
    for entry in entries:
        if not _is_id(entry.get('id')):
            raise UserError(f'has an entry in `{part}` without an id: {str(entry)[:80]}')
    _refuse_doubles(f'{part} with the id', (entry['id'] for entry in entries))


def _is_id(value: Any) -> bool:
    is_whole = isinstance(value, float) and value.is_integer()
    return is_whole or (isinstance(value, (int, str)) and not isinstance(value, bool))


def _refuse_doubles(what: str, values: Iterable[Any]) -> None:
    counts = Counter(v if isinstance(v, (int, float, str)) else repr(v) for v in values)
    doubles = [value for value, n in counts.items() if n > 1]
    if doubles:
        shown = first_names(map(repr, doubles), 5)
        raise UserError(f'has several {what} {shown}; each must occur once')
