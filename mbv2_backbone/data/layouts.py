"""Writers of the COCO and PASCAL VOC layouts.

Both layouts describe the same pixels. COCO boxes are ``(x, y, width, height)`` with 0-based pixel
edges; VOC boxes are ``(xmin, ymin, xmax, ymax)``, 1-based, with both corners inside the object.
mmdet's ``XMLDataset`` subtracts 1 from all four VOC numbers, which leaves the last pixel inside,
and its VOC metric counts that pixel (``use_legacy_coordinate``).
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image

_FOLDERS = (
    'JPEGImages',
    'annotations',
    'Annotations',
    'SegmentationClass',
    'ImageSets/Main',
    'ImageSets/Segmentation',
)

BACKGROUND = (0, 0, 0)  # colour of label 0 in the masks, RGB


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    Args:
        label: Index into the class names, from 0.
        mask: Visible pixels, bool ``(H, W)``, at least one of them set.
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
        columns = np.flatnonzero(self.mask.any(axis=0))
        rows = np.flatnonzero(self.mask.any(axis=1))
        x, y = int(columns[0]), int(rows[0])
        return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def voc_box(box_xywh: Sequence[int]) -> tuple[int, int, int, int]:
    """Turn a COCO box into VOC's 1-based inclusive ``(xmin, ymin, xmax, ymax)``.

    >>> voc_box((0, 0, 10, 20))
    (1, 1, 10, 20)
    """
    x, y, width, height = box_xywh
    return x + 1, y + 1, x + width, y + height


def mask_to_polygons(mask: np.ndarray) -> list[list[int]]:
    """Trace a mask along its pixel edges.

    COCO reads a list of polygons as their union, so a mask with a hole is cut in two through the
    hole. Rasterising the result with pycocotools gives the mask back.

    Args:
        mask: bool ``(H, W)``.

    Returns:
        One flat ``[x0, y0, x1, y1, ...]`` per part, in pixel edges; empty for an empty mask.
    """
    # At twice the resolution every border point lies in a known half of its pixel,
    # which tells the pixel edge it belongs to: 2x -> x, 2x + 1 -> x + 1.
    pixels = mask.astype(np.uint8)
    doubled = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0] if contours else (), strict=True):
        if parent >= 0:
            cut = (int(contour[:, 0, 0].min() + contour[:, 0, 0].max()) // 2 + 1) // 2
            is_left = np.arange(mask.shape[1]) < cut
            return mask_to_polygons(mask & is_left) + mask_to_polygons(mask & ~is_left)
    return [_corners((contour[:, 0] + 1) // 2).ravel().tolist() for contour in contours]


def _corners(points: np.ndarray) -> np.ndarray:
    """Drop repeated and collinear points of a closed path ``(N, 2)``."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before = points - np.roll(points, 1, axis=0)
    after = np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def coco_annotations(instances: Iterable[Instance], *, image_id: int, first_id: int) -> list[dict]:
    """COCO annotation records of one image; category ids are the labels plus 1."""
    return [
        {
            'id': first_id + offset,
            'image_id': image_id,
            'category_id': instance.label + 1,
            'bbox': list(instance.box_xywh),
            'area': int(instance.mask.sum()),
            'iscrowd': 0,
            'segmentation': mask_to_polygons(instance.mask),
        }
        for offset, instance in enumerate(instances)
    ]


def voc_xml(
    file_name: str, size_hw: tuple[int, int], classes: Sequence[str], instances: Iterable[Instance]
) -> str:
    """VOC annotation of one image, as text."""
    root = ElementTree.Element('annotation')
    _add(root, folder='sample', filename=file_name)
    _add(ElementTree.SubElement(root, 'size'), width=size_hw[1], height=size_hw[0], depth=3)
    _add(root, segmented=1)
    for instance in instances:
        item = ElementTree.SubElement(root, 'object')
        _add(
            item,
            name=classes[instance.label],
            pose='Unspecified',
            truncated=int(instance.truncated),
            occluded=int(instance.occluded),
            difficult=0,
        )
        corners = dict(
            zip(('xmin', 'ymin', 'xmax', 'ymax'), voc_box(instance.box_xywh), strict=True)
        )
        _add(ElementTree.SubElement(item, 'bndbox'), **corners)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='unicode') + '\n'


def _add(parent: ElementTree.Element, **fields: object) -> None:
    for name, value in fields.items():
        ElementTree.SubElement(parent, name).text = str(value)


def label_map(size_hw: tuple[int, int], instances: Iterable[Instance]) -> np.ndarray:
    """Semantic map, uint8 ``(H, W)``: 0 is background, label ``k`` is ``k + 1``."""
    labels = np.zeros(size_hw, np.uint8)
    for instance in instances:
        labels[instance.mask] = instance.label + 1
    return labels


def write_set(
    root: Path,
    scenes: Iterable[tuple[str, np.ndarray, Sequence[Instance]]],
    *,
    classes: Sequence[str],
    palette_rgb: Sequence[tuple[int, int, int]],
) -> dict[str, dict]:
    """Write images and annotations of both layouts into a new folder.

    Args:
        root: Folder to create.
        scenes: Split, RGB image uint8 ``(H, W, 3)`` and instances of one image after another.
            An image is named after its split and its place in it.
        classes: Class names in the order of the labels.
        palette_rgb: Colour of each class in the masks.

    Returns:
        ``images``, ``empty`` (images without an instance) and ``boxes`` (by class), by split.
    """
    for folder in _FOLDERS:  # on some file systems annotations and Annotations are one
        (root / folder).mkdir(parents=True, exist_ok=True)
    images: dict[str, list[dict]] = {}
    annotations: dict[str, list[dict]] = {}
    for split, image_rgb, instances in scenes:
        split_images = images.setdefault(split, [])
        split_annotations = annotations.setdefault(split, [])
        name = f'{split}_{len(split_images):05d}'
        size_hw = image_rgb.shape[:2]
        _write_jpeg(root / 'JPEGImages' / f'{name}.jpg', image_rgb)
        xml = voc_xml(f'{name}.jpg', size_hw, classes, instances)
        (root / 'Annotations' / f'{name}.xml').write_text(xml, encoding='utf-8')
        labels = label_map(size_hw, instances)
        write_palette_png(
            root / 'SegmentationClass' / f'{name}.png', labels, [BACKGROUND, *palette_rgb]
        )
        image_id = len(split_images) + 1
        split_images.append(
            {
                'id': image_id,
                'file_name': f'{name}.jpg',
                'height': size_hw[0],
                'width': size_hw[1],
            }
        )
        split_annotations += coco_annotations(
            instances, image_id=image_id, first_id=len(split_annotations) + 1
        )

    categories = [{'id': index, 'name': name} for index, name in enumerate(classes, start=1)]
    for split in images:
        document = {
            'images': images[split],
            'annotations': annotations[split],
            'categories': categories,
        }
        (root / 'annotations' / f'{split}.json').write_text(
            json.dumps(document, separators=(',', ':')), encoding='utf-8'
        )
    _write_voc_lists(root / 'ImageSets', images)
    return _count(images, annotations, categories)


def _write_jpeg(path: Path, image_rgb: np.ndarray) -> None:
    _, jpeg = cv2.imencode('.jpg', image_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    path.write_bytes(jpeg.tobytes())


def _write_voc_lists(folder: Path, images: dict[str, list[dict]]) -> None:
    lists = {**images, 'trainval': [image for split in images.values() for image in split]}
    for split, members in lists.items():
        text = ''.join(f'{Path(image["file_name"]).stem}\n' for image in members)
        for task in ('Main', 'Segmentation'):
            (folder / task / f'{split}.txt').write_text(text, encoding='utf-8')


def _count(
    images: dict[str, list[dict]], annotations: dict[str, list[dict]], categories: list[dict]
) -> dict[str, dict]:
    counts: dict[str, dict] = {'images': {}, 'empty': {}, 'boxes': {}}
    for split, items in annotations.items():
        by_category = Counter(item['category_id'] for item in items)
        counts['images'][split] = len(images[split])
        counts['empty'][split] = len(images[split]) - len({item['image_id'] for item in items})
        counts['boxes'][split] = {item['name']: by_category[item['id']] for item in categories}
    return counts


def write_palette_png(
    path: Path, labels: np.ndarray, palette_rgb: Sequence[tuple[int, int, int]]
) -> None:
    """Write a semantic map as an 8-bit palette PNG.

    Args:
        path: File to write.
        labels: ``(H, W)`` uint8.
        palette_rgb: Colours of the labels from 0 on; 255 has the cream of VOC's void.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette_rgb)] = palette_rgb
    colours[255] = (224, 224, 192)
    image = Image.fromarray(labels)
    image.putpalette(colours.tobytes())
    image.save(path)
