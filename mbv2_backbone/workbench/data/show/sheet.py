"""A contact sheet: images with their boxes and masks, file names and a legend."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ....common.messages import UserError
from ...configs.summary import Classes
from ...drawing.pixels import caption_strip, fitted_size, legend_strip, letter_font
from .labelled import LabelledImage, draw_labels

SHEET_WIDTH = 1920
_MIN_TILE, _MAX_TILE = 200, 480
_GAP, _GROUP_GAP = 6, 18
_TEXT_HW = (392, 392)  # image size whose letters are 14 pixels high
_TITLE_HW = (560, 560)  # image size whose letters are 20 pixels high


@dataclass(frozen=True)
class Group:
    """Images that are drawn side by side, the labelled image first.

    Attributes:
        name: Written below the first image.
        images: The same number in each group of a sheet.
    """

    name: str
    images: Sequence[LabelledImage] = field(default_factory=list)


def picked(total: int, num: int, seed: int) -> list[int]:
    """Pick some of the numbers below a total, in ascending order.

    Raises:
        UserError: If the total is 0, or fewer than one is to be picked.
    """
    if num < 1:
        raise UserError(f'--num must be at least 1, got {num}')
    if total == 0:
        raise UserError('there is no image to show')
    rng = np.random.default_rng(seed)
    return sorted(rng.permutation(total)[:num].tolist())


def contact_sheet(
    groups: Sequence[Group],
    *,
    title: str,
    captions: Sequence[str] = (),
    boxes: Classes,
    masks: Classes,
    images: Classes,
) -> np.ndarray:
    """Draw a contact sheet; its legend counts the objects to learn from in each first image.

    Args:
        groups: At least one.
        title: Written at the top.
        captions: Written above the images of each group, in their order.
        boxes: Classes of the objects.
        masks: Classes of the label maps.
        images: Classes of whole images.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    num_images = len(groups[0].images)
    columns = min(len(groups), math.ceil(math.sqrt(len(groups) / num_images)))
    tile = min(_MAX_TILE, max(_MIN_TILE, SHEET_WIDTH // (columns * num_images)))
    sizes = [fitted_size(labelled.image, tile) for group in groups for labelled in group.images]
    height = max(height for _, height in sizes)
    rows = [
        np.concatenate([_draw_group(g, tile, height, boxes, masks, images) for g in row], axis=1)
        for row in (groups[i : i + columns] for i in range(0, len(groups), columns))
    ]
    width = max(row.shape[1] for row in rows)
    rows = [_padded(row, width) for row in rows]
    title_font = letter_font(_TITLE_HW)
    title_width = math.ceil(title_font.getlength(title)) + title_font.size
    strips = [caption_strip([(title, 0)], max(width, title_width), _TITLE_HW)]
    if captions:
        step, group_width = tile + _GAP, rows[0].shape[1] // columns
        places = [
            (caption, i * group_width + k * step)
            for i in range(columns)
            for k, caption in enumerate(captions)
        ]
        strips.append(caption_strip(places, width, _TEXT_HW))
    firsts = [group.images[0] for group in groups]
    legend = legend_strip(_legend(firsts, boxes, masks, images), width, _TEXT_HW)
    width = max(width, title_width, legend.shape[1])
    sheet = np.concatenate([_padded(part, width) for part in (*strips, *rows, legend)])
    return np.pad(sheet, ((_GAP, _GAP), (_GROUP_GAP, 0), (0, 0)), constant_values=255)


def _padded(part: np.ndarray, width: int) -> np.ndarray:
    margin = ((0, 0), (0, width - part.shape[1]), (0, 0))
    return np.pad(part, margin, constant_values=255)


def _draw_group(group: Group, tile: int, height: int, *classes: Classes) -> np.ndarray:
    step = tile + _GAP
    canvas = np.full((height, len(group.images) * step - _GAP + _GROUP_GAP, 3), 255, np.uint8)
    for i, labelled in enumerate(group.images):
        drawn = draw_labels(labelled, fitted_size(labelled.image, tile), *classes)
        x = i * step + (tile - drawn.shape[1]) // 2
        canvas[height - drawn.shape[0] :, x : x + drawn.shape[1]] = drawn
    name = shortened(group.name, canvas.shape[1] - _GROUP_GAP)
    return np.concatenate([canvas, caption_strip([(name, 0)], canvas.shape[1], _TEXT_HW)])


def shortened(name: str, width: int) -> str:
    """Shorten the middle of a name that is wider than this many pixels."""
    font = letter_font(_TEXT_HW)
    width -= font.size  # `caption_strip` leaves half a letter at each side
    short, kept = name, len(name)
    while font.getlength(short) > width and kept > 1:
        kept -= 1
        short = f'{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}'
    return short


def _legend(
    labelled: Sequence[LabelledImage], boxes: Classes, masks: Classes, images: Classes
) -> list[tuple[str, Sequence[int]]]:
    """Return a line and a colour for each class that occurs."""
    shapes = [shape for one in labelled for shape in one.shapes]
    num_boxes = Counter(shape.label for shape in shapes if not shape.is_ignored)
    ignored = sum(shape.is_ignored for shape in shapes)
    lines = {
        boxes.names[label]: (
            f'{num_boxes[label]} object{"" if num_boxes[label] == 1 else "s"}',
            boxes.palette[label],
        )
        for label in sorted({shape.label for shape in shapes})
    }
    maps = [one.label_map.ravel() for one in labelled if one.label_map is not None]
    pixels = np.bincount(np.concatenate(maps), minlength=256) if maps else np.zeros(256)
    for name, colour, count in zip(masks.names, masks.palette, pixels, strict=False):
        if count:
            share = f'{100 * count / pixels.sum():.1f} % of pixels'
            share += '' if any(colour) else ', not coloured'
            counted = f'{lines[name][0]}, {share}' if name in lines else share
            lines[name] = counted, colour
    counts = Counter(one.label for one in labelled if one.label is not None)
    for label, count in sorted(counts.items()):
        text = f'{count} image{"" if count == 1 else "s"}'
        lines[images.names[label]] = text, images.palette[label]
    entries = [(f'{name}: {counted}', colour) for name, (counted, colour) in lines.items()]
    if ignored:
        entries.append((f'dashed: {ignored} ignored', (255, 255, 255)))
    return entries
