"""Draw the labels of one image for a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...configs.summary import Classes
from ...drawing.pixels import ink_on, letter_font, overlay, resized
from ..records import Item

Colour = tuple[int, int, int]

_LETTERS_HW = (308, 308)  # image size whose letters are 11 pixels high
_FILL = 0.35  # opacity of outlined objects
_DASH = 6


@dataclass(frozen=True)
class LabelledImage:
    """An image and its labels.

    Attributes:
        image: `(H, W, 3)` uint8 BGR.
        shapes: Its objects.
        label_map: Class of each pixel, `(H, W)` uint8; `None` without a mask.
        label: Class of the whole image; `None` without one.
    """

    image: np.ndarray
    shapes: Sequence[Item] = ()
    label_map: np.ndarray | None = None
    label: int | None = None


def draw_labels(
    labelled: LabelledImage,
    size_wh: tuple[int, int],
    boxes: Classes,
    masks: Classes,
    images: Classes,
) -> np.ndarray:
    """Resize an image and draw its labels on it, with lines and letters of a fixed size.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    height, width = labelled.image.shape[:2]
    scale = size_wh[0] / width, size_wh[1] / height
    image = resized(labelled.image, size_wh)
    if labelled.label_map is not None:
        labels = cv2.resize(labelled.label_map, size_wh, interpolation=cv2.INTER_NEAREST)
        image = overlay(image, labels, masks.palette)
    shapes = [_scaled(shape, scale) for shape in labelled.shapes]
    # Small ones are drawn last, on top.
    shapes.sort(key=lambda shape: -np.prod(np.subtract(shape.box[2:], shape.box[:2])))
    image = _fill_polygons(image, shapes, boxes)
    canvas = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    draw = ImageDraw.Draw(canvas)
    for shape in shapes:
        _draw_box(draw, shape, tuple(boxes.palette[shape.label]), size_wh)
    _draw_tags(draw, shapes, boxes, size_wh)
    if labelled.label is not None:
        _draw_class(draw, images.names[labelled.label], images.palette[labelled.label])
    return np.asarray(canvas)[..., ::-1]


def _scaled(shape: Item, scale: tuple[float, float]) -> Item:
    box = np.asarray(shape.box, np.float64) * (*scale, *scale)
    outline = [(np.reshape(part, (-1, 2)) * scale).ravel() for part in shape.outline]
    return replace(shape, box=box.tolist(), outline=outline)


def _fill_polygons(image: np.ndarray, shapes: Sequence[Item], boxes: Classes) -> np.ndarray:
    filled = image.copy()
    outlines = []
    for shape in shapes:
        points = [np.round(part).astype(np.int32).reshape(-1, 2) for part in shape.outline]
        colour = boxes.palette[shape.label][::-1]
        cv2.fillPoly(filled, points, colour)
        outlines.append((points, colour))
    image = cv2.addWeighted(filled, _FILL, image, 1 - _FILL, 0)
    for points, colour in outlines:
        cv2.polylines(image, points, True, colour, 1, cv2.LINE_AA)
    return image


def _draw_box(
    draw: ImageDraw.ImageDraw, shape: Item, colour: Colour, size_wh: tuple[int, int]
) -> None:
    x1, y1, x2, y2 = (round(value) for value in shape.box)
    right, low = size_wh[0] - 1, size_wh[1] - 1
    x1, y1 = min(max(x1, 0), right), min(max(y1, 0), low)
    x2, y2 = max(x1, min(x2 - 1, right)), max(y1, min(y2 - 1, low))
    width = 2 if min(x2 - x1, y2 - y1) > 8 else 1
    draw.rectangle([x1 - 1, y1 - 1, x2 + 1, y2 + 1], outline=ink_on(colour))
    if not shape.is_ignored:
        draw.rectangle([x1, y1, x2, y2], outline=colour, width=width)
        return
    for x in range(x1, x2 + 1, 2 * _DASH):
        for y in (y1, y2):
            draw.line([x, y, min(x + _DASH, x2), y], fill=colour, width=width)
    for y in range(y1, y2 + 1, 2 * _DASH):
        for x in (x1, x2):
            draw.line([x, y, x, min(y + _DASH, y2)], fill=colour, width=width)


def _draw_tags(
    draw: ImageDraw.ImageDraw, shapes: Sequence[Item], boxes: Classes, size_wh: tuple[int, int]
) -> None:
    """Write the class at each box if there is room; otherwise only its colour shows it."""
    font = letter_font(_LETTERS_HW)
    taken: list[tuple[int, int, int, int]] = []
    for shape in shapes:
        name = boxes.names[shape.label]
        width, height = math.ceil(font.getlength(name)) + 4, font.size + 4
        place = _free_place(shape.box, (width, height), size_wh, taken)
        if place is None:
            continue
        taken.append(place)
        _draw_tag(draw, place, name, boxes.palette[shape.label], font)


def _draw_class(draw: ImageDraw.ImageDraw, name: str, colour: Colour) -> None:
    """Write the class of a whole image into its upper left corner."""
    font = letter_font(_LETTERS_HW)
    place = 0, 0, math.ceil(font.getlength(name)) + 4, font.size + 4
    _draw_tag(draw, place, name, colour, font)


def _draw_tag(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int, int, int],
    name: str,
    colour: Sequence[int],
    font: ImageFont.FreeTypeFont,
) -> None:
    draw.rectangle([*place[:2], place[2] - 1, place[3] - 1], fill=tuple(colour))
    middle = (place[1] + place[3]) // 2
    draw.text((place[0] + 2, middle), name, fill=ink_on(colour), font=font, anchor='lm')


def _free_place(
    xyxy: Sequence[float],
    tag_wh: tuple[int, int],
    size_wh: tuple[int, int],
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int] | None:
    """Return where a tag fits: above, inside or below the box, not on another tag."""
    width, height = tag_wh
    if width > size_wh[0]:
        return None
    left = min(max(0, round(xyxy[0])), size_wh[0] - width)
    top, bottom = round(xyxy[1]), round(xyxy[3])
    for y in (top - height, top, bottom - height, bottom):
        place = (left, y, left + width, y + height)
        is_free = all(
            t[2] <= left or place[2] <= t[0] or t[3] <= y or place[3] <= t[1] for t in taken
        )
        if y >= 0 and place[3] <= size_wh[1] and is_free:
            return place
    return None
