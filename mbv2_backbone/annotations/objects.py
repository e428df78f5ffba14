"""Which annotated objects can be trained on; readers, checks, conversions and training ask here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..common.messages import UserError
from .boxes import Box, Object, UnknownClass, as_box, box_problem, coco_corners, cut_box
from .extents import box_of_outline, outline_problem
from .images import ROUNDING

_LEAST_BEYOND, _SHARE_BEYOND = 3, 0.1  # boxes beyond their images that are not chance


def usable_box(item: Object, image_wh: tuple[int, int] | None) -> tuple[Box | None, str | None]:
    """Return the box of an object, clipped to its image, or why it cannot be trained on.

    Something is learned from a usable box unless the object is ignored; readers, checks,
    conversions and training all ask here.

    Args:
        item: The object.
        image_wh: Width and height of the image, if known.
    """
    if item.xyxy is None:
        return None, item.problem
    problem = box_problem(item.xyxy, image_wh)
    if problem is not None:
        return None, problem
    box = cut_box(item.xyxy, image_wh)
    if min(box[2] - box[0], box[3] - box[1]) < 1:
        return None, 'smaller than a pixel'
    return box, None


AS_OBJECTS = (
    'if they are objects like others, as in masks from CVAT, `python tools/data.py convert FOLDER '
    'OUT --to coco --ignored-as-objects` makes them so'
)


def ignored_problem(num_learned: int, num_ignored: int) -> str:
    """Tell that nothing, or less than half, is left to learn from; empty otherwise.

    Example:
        >>> ignored_problem(0, 24)
        'all 24 boxes are ignored: crowds (`iscrowd`) or difficult'
    """
    if num_ignored <= num_learned:
        return ''
    share = f'{num_ignored} of {num_learned + num_ignored}' if num_learned else f'all {num_ignored}'
    return f'{share} boxes are ignored: crowds (`iscrowd`) or difficult'


def refuse_corners(data: dict) -> None:
    """Refuse a COCO file whose boxes are x1, y1, x2, y2 instead of x, y, width, height.

    As corners all of them fit into their images; as sizes several do not.

    Raises:
        UserError: With their number.
    """
    sides = {image['id']: (image['width'], image['height']) for image in data['images']}
    given = ((sides.get(i['image_id']), as_box(i.get('bbox'))) for i in data.get('annotations', []))
    found = [(wh, box) for wh, box in given if wh and box and any(box)]
    beyond = sum(
        x + w > width + ROUNDING or y + h > height + ROUNDING
        for (width, height), (x, y, w, h) in found
    )
    if beyond < max(_LEAST_BEYOND, _SHARE_BEYOND * len(found)):
        return
    if all(x < w <= wh[0] + ROUNDING and y < h <= wh[1] + ROUNDING for wh, (x, y, w, h) in found):
        raise UserError(
            f'has {beyond} of {len(found)} boxes that end outside their images, but none would as '
            f'x1, y1, x2, y2; write each bbox as x, y, width, height'
        )


def sort_objects(
    objects: Sequence[Object], classes: Sequence[str], image_wh: tuple[int, int] | None
) -> tuple[list[tuple[Object, Box]], list[tuple[Any, str]], list[tuple[Any, str]]]:
    """Separate the objects that can be trained on from the others.

    Args:
        objects: Of one image.
        classes: Objects of other classes cannot be trained on.
        image_wh: Width and height of the image, if known.

    Returns:
        The usable objects with their boxes, clipped to the image; the others as in the file, and
        why; those that lost their outline because it contradicts their box, and how.
    """
    sound, dropped, doubted = [], [], []
    for item in objects:
        box, problem = usable_box(item, image_wh)
        if item.xyxy is not None and item.name not in classes:
            problem = f'unknown class {item.name!r}' if item.name else 'no class name'
        if problem is not None:
            dropped.append((item.stored, problem))
            continue
        doubt = outline_problem(item.outline, box, image_wh) if item.outline and image_wh else ''
        if doubt:
            doubted.append((item.stored, doubt))
            item = replace(item, outline=None)
        sound.append((item, box))
    return sound, dropped, doubted


def coco_object(item: Mapping[str, Any], names: Mapping[Any, str], image: Mapping) -> Object:
    """Read one of COCO's annotations; without a `bbox` its box is the one around its outline.

    Args:
        item: The annotation.
        names: Of the categories, by id.
        image: Its entry in the file, with width and height.
    """
    stored, outline = item.get('bbox'), item.get('segmentation')
    box, problem = as_box(stored), 'not four numbers'
    xyxy = coco_corners(box) if box else None
    if not stored or (box and not any(box)):
        problem = 'only key points' if item.get('keypoints') else 'no box and no outline'
        try:
            xyxy = box_of_outline(outline, (image['width'], image['height'])) or xyxy
        except UserError as error:
            xyxy, problem = None, f'no box, and {error}'
    return Object(
        name=names.get(item['category_id'], UnknownClass(item['category_id'])),
        stored=stored,
        xyxy=xyxy,
        is_ignored=bool(item.get('iscrowd') or item.get('ignore')),
        outline=outline,
        problem=problem,
    )
