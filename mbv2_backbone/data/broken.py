"""Samples that cannot be trained on."""

from __future__ import annotations

ROUNDING = 1  # pixels; so far a box may reach beyond its image without a word


class BrokenSampleError(ValueError):
    """A file, or what belongs to it, is broken; another sample can take its place."""


def check_boxes_fit(results: dict) -> None:
    """Refuse a loaded image of another size than its annotations state, unless its boxes fit.

    Args:
        results: With `img_shape`, height and width of the image; optional `height` and `width` as
            stated, and `instances`.

    Raises:
        BrokenSampleError: A box reaches beyond the image by more than a pixel.
    """
    height, width = results['img_shape']
    if results.get('width', width) == width and results.get('height', height) == height:
        return
    for instance in results.get('instances', []):
        x1, y1, x2, y2 = instance['bbox']
        if min(x1, y1) < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
            raise BrokenSampleError(
                f'is {width}x{height} pixels, its annotations are for '
                f'{results["width"]}x{results["height"]}, and the box {(x1, y1, x2, y2)} is not '
                f'inside'
            )
