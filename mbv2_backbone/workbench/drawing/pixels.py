"""Draw masks, boxes, legends and captions on images."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

OPACITY = 0.55
_TILE_GAP = 6

_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601


def overlay(
    image: np.ndarray, labels: np.ndarray, palette_rgb: Sequence[Sequence[int]]
) -> np.ndarray:
    """Overlay an image with the colours of its labels.

    Where a label has no colour or is black, like background, the image is unchanged.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        labels: `(H, W)` uint8.
        palette_rgb: Colour of each label.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette_rgb)] = np.asarray(palette_rgb)[:, ::-1]
    coloured = cv2.applyColorMap(labels, colours[:, None])
    mixed = cv2.addWeighted(image, 1 - OPACITY, coloured, OPACITY, 0)
    is_bare = (~colours.any(axis=1)).astype(np.uint8)
    return cv2.copyTo(image, cv2.LUT(labels, is_bare), mixed)


def draw_boxes(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    names: Sequence[str],
    colours_rgb: Sequence[Sequence[int]],
) -> np.ndarray:
    """Draw boxes with names; the first box, which has the highest score, is drawn on top.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        boxes_xyxy: `(D, 4)` in pixels.
        names: The text on each.
        colours_rgb: Colour of each.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    canvas = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    draw = ImageDraw.Draw(canvas)
    font = letter_font(image.shape[:2])
    line, width = font.size * 5 // 4, max(2, font.size // 6)
    for box, name, colour in reversed(list(zip(boxes_xyxy, names, colours_rgb, strict=True))):
        x1, y1, x2, y2 = (float(v) for v in box)
        colour = tuple(int(v) for v in colour)
        draw.rectangle([x1, y1, max(x1, x2), max(y1, y2)], outline=colour, width=width)
        tag = _text_width(name, font) + font.size // 2
        x = min(max(0.0, x1), max(0.0, canvas.width - tag))
        y = y1 - line if y1 >= line else max(0.0, y1)
        draw.rectangle([x, y, x + tag, y + line], fill=colour)
        middle = (x + tag / 2, y + line / 2)
        draw.text(middle, name, fill=ink_on(colour), font=font, anchor='mm')
    return np.asarray(canvas)[..., ::-1]


def ink_on(colour_rgb: Sequence[int]) -> tuple[int, int, int]:
    """Return black or white, whichever contrasts more with a colour."""
    return (0, 0, 0) if np.dot(colour_rgb, _LUMINANCE) > 140 else (255, 255, 255)


def legend_strip(
    entries: Sequence[tuple[str, Sequence[int]]], width: int, size_hw: tuple[int, int]
) -> np.ndarray:
    """Draw swatches with names on white, in as many columns as fit.

    Args:
        entries: Name and colour RGB of each class.
        width: Width of the strip in pixels; larger if the longest name needs it.
        size_hw: Size of the image, which determines the size of the letters.

    Returns:
        `(H', W', 3)` uint8 BGR.
    """
    font = letter_font(size_hw)
    line, pad = font.size * 3 // 2, font.size // 2
    cell = max((_text_width(name, font) for name, _ in entries), default=0) + line + 2 * pad
    columns = max(1, width // cell)
    height = -(-len(entries) // columns) * line + pad
    height += height % 2  # video codecs need even heights
    strip = Image.new('RGB', (max(width, cell), height), 'white')
    draw = ImageDraw.Draw(strip)
    for i, (name, colour) in enumerate(entries):
        x, y = i % columns * cell + pad, i // columns * line + pad // 2
        top = y + (line - font.size) // 2
        box = [x, top, x + font.size - 1, top + font.size - 1]
        draw.rectangle(box, fill=tuple(int(v) for v in colour), outline='gray')
        draw.text((x + line, y + line // 2), name, fill='black', font=font, anchor='lm')
    return np.asarray(strip)[..., ::-1]


def caption_strip(
    captions: Sequence[tuple[str, int]], width: int, size_hw: tuple[int, int]
) -> np.ndarray:
    """Write captions on white, each from its x position; `(H', width, 3)` uint8 BGR."""
    font = letter_font(size_hw)
    line = font.size * 3 // 2
    strip = Image.new('RGB', (width, line), 'white')
    for text, x in captions:
        ImageDraw.Draw(strip).text(
            (x + font.size // 2, line // 2), text, fill='black', font=font, anchor='lm'
        )
    return np.asarray(strip)[..., ::-1]


def fitted_size(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return the width and height at which an image fits a square."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resized(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resize an image with the best interpolation for shrinking or enlarging."""
    shrinks = size_wh[0] < image.shape[1]
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def tiled(images: Sequence[np.ndarray], *, side: int, columns: int) -> np.ndarray:
    """Put images `(H, W, 3)` uint8 into rows on white, each fitted to a square."""
    tiles = [resized(image, fitted_size(image, side)) for image in images]
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0) + _TILE_GAP
    rows, columns = -(-len(tiles) // columns), min(columns, len(tiles))
    canvas = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, i % columns * width
        canvas[y : y + len(tile), x : x + tile.shape[1]] = tile
    return canvas


def letter_font(size_hw: tuple[int, int]) -> ImageFont.FreeTypeFont:
    """Return a font whose letters suit images of a size."""
    import matplotlib  # installed with mmengine; its font has the letters of most class names

    path = osp.join(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(path, min(40, max(11, min(size_hw) // 28)))


def _text_width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return int(font.getlength(text)) + 1
