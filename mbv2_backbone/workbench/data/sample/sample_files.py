"""The sample dataset's files: images, masks, annotations in COCO and VOC format, and crops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ....annotations.masks import BACKGROUND_COLOUR, write_palette_png
from ..formats.coco import write_coco
from ..formats.folders import crop_of, write_jpeg
from ..formats.voc import write_voc_files
from ..names import CROPS
from ..outlines import mask_to_polygons
from ..records import AnnotatedImage, Item

_QUALITY = 92


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    Args:
        label: Index into the class names, from 0.
        mask: Visible pixels, bool ``(H, W)``, at least one of them true.
        truncated: The object extends beyond the image.
        occluded: Something in the image hides a part of the object.
    """

    label: int
    mask: np.ndarray
    truncated: bool = False
    occluded: bool = False

    @property
    def box_xywh(self) -> tuple[int, int, int, int]:
        """Tight box of the visible pixels, in pixels from 0."""
        return cv2.boundingRect(self.mask.astype(np.uint8))

    @property
    def item(self) -> Item:
        """The object as stored in annotations."""
        x, y, width, height = self.box_xywh
        return Item(
            self.label,
            (x, y, x + width, y + height),
            mask_to_polygons(self.mask),
            is_truncated=self.truncated,
            is_occluded=self.occluded,
        )


def label_map(size_hw: tuple[int, int], instances: Iterable[Instance]) -> np.ndarray:
    """Semantic map, uint8 ``(H, W)``: 0 is background, label ``k`` is ``k + 1``."""
    labels = np.zeros(size_hw, np.uint8)
    for instance in instances:
        labels[instance.mask] = instance.label + 1
    return labels


def write_dataset(
    root: Path,
    scenes: Iterable[tuple[str, np.ndarray, Sequence[Instance]]],
    *,
    classes: Sequence[str],
    palette_rgb: Sequence[tuple[int, int, int]],
) -> dict[str, dict]:
    """Write images and annotations in both formats, and the objects by class, into a folder.

    Args:
        root: An empty folder.
        scenes: For each image, its split, RGB image uint8 ``(H, W, 3)`` and instances.
            An image is named after its split and its index in it.
        classes: Class names in the order of the labels.
        palette_rgb: Colour of each class in the masks.

    Returns:
        ``images``, ``empty`` (images without an instance) and ``boxes`` (by class), by split.
    """
    pixels, masks = root / 'JPEGImages', root / 'SegmentationClass'
    for folder in (pixels, masks):
        folder.mkdir()
    splits: dict[str, list[AnnotatedImage]] = {}
    for split, image_rgb, instances in scenes:
        images = splits.setdefault(split, [])
        path = pixels / f'{split}_{len(images):05d}.jpg'
        write_jpeg(path, image_rgb[..., ::-1], _QUALITY)
        for i, instance in enumerate(instances):
            folder = root / CROPS / split / classes[instance.label]
            folder.mkdir(parents=True, exist_ok=True)
            crop = crop_of(image_rgb, instance.item.box)
            write_jpeg(folder / f'{len(images):05d}_{i}.jpg', crop[..., ::-1], _QUALITY)
        labels = label_map(image_rgb.shape[:2], instances)
        write_palette_png(masks / f'{path.stem}.png', labels, [BACKGROUND_COLOUR, *palette_rgb])
        items = [instance.item for instance in instances]
        images.append(AnnotatedImage(path, path.name, image_rgb.shape[1::-1], items))
    write_coco(root, classes, splits)
    write_voc_files(root, classes, splits, folder='sample', is_segmented=True)
    return {
        'images': {split: len(images) for split, images in splits.items()},
        'empty': {split: sum(not p.items for p in images) for split, images in splits.items()},
        'boxes': {split: _count_boxes(images, classes) for split, images in splits.items()},
    }


def _count_boxes(images: Iterable[AnnotatedImage], classes: Sequence[str]) -> dict[str, int]:
    counts = Counter(item.label for image in images for item in image.items)
    return {name: counts[label] for label, name in enumerate(classes)}
